"""What may be sent to the API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from edgefleet_protocol.messages import MAX_COMMAND_S
from edgefleet_protocol.names import parse_release_name
from edgefleet_protocol.policy_check import BadPolicy, check_policy
from edgefleet_protocol.rollout import Audience, Gate, Policy, Probation
from edgefleet_protocol.wrong_type import converted

from ..commanding import DEFAULT_LIFE_S
from ..errors import BadRequest
from ..regions.zones import is_known
from ..rollouts.orders import DEADLINE_S, Order, StageOrder
from ..rollouts.plan_digest import MOST


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NotWorseBody(_Strict):
    """How much worse than the model before it may be, on the same devices; a margin of null is not looked at."""

    latency_percent: float | None = Field(default=5.0, ge=0, le=10000)
    error_points: float | None = Field(default=0.5, ge=0, le=100)
    confidence_psi: float | None = Field(default=None, ge=0, le=10)
    agreement_percent: float | None = Field(default=None, ge=0, le=100, description="of golden inputs")
    agreement_live_percent: float | None = Field(
        default=None, ge=0, le=100, description="of live answers, as far as their confidence tells"
    )
    memory_percent: float | None = Field(default=None, ge=0, le=10000)
    energy_percent: float | None = Field(default=None, ge=0, le=10000)
    alpha: float = Field(default=0.05, ge=1e-6, le=0.5, description="how often a good release may be stopped")
    min_devices: int = Field(default=3, ge=2, le=10000)
    max_devices: int = Field(default=200, ge=2, le=10000)
    min_requests: int = Field(default=100, ge=1, le=10**6)
    warm_up_s: float = Field(default=60.0, ge=0, le=86400)
    on_worse: Literal["go-back", "pause"] = "go-back"
    wait_s: float = Field(default=3600.0, ge=0, le=86400 * 30, description="how long a stage waits for a verdict")
    too_little: Literal["pause", "go-on"] = "pause"


class GateBody(_Strict):
    """What must hold before the next stage."""

    max_failed_percent: float = Field(default=0.0, ge=0, le=100)
    min_proven_percent: float = Field(default=100.0, ge=0, le=100)
    max_failed: int | None = Field(default=None, ge=0, le=10**7)
    min_proven: int = Field(default=0, ge=0, le=10**7)
    min_ended: int = Field(default=0, ge=0, le=10**7)
    not_worse: NotWorseBody | None = None


class StageBody(_Strict):
    """One stage: a share, a number of devices, or devices by name."""

    percent: float | None = None
    count: int | None = Field(default=None, ge=1, le=10**7)
    tags: list[str] = Field(default=[], max_length=32)
    hardware: list[str] = Field(default=[], max_length=64)
    devices: list[str] = Field(default=[], max_length=500)
    approval: bool = Field(default=False, description="a person must say yes before it opens")
    soak_s: float | None = Field(
        default=None, ge=0, le=86400 * 30, description="judged on so long once its gate is open; else the rollout's own"
    )
    gate: GateBody | None = Field(default=None, description="else the rollout's own")


def _share(said: Any) -> Any:
    """Return a bare number as the stage that it is short for, so that what is wrong is said of one form and not of two."""
    if isinstance(said, int | float | str) and not isinstance(said, bool):
        return {"percent": said}
    if not isinstance(said, dict | StageBody):
        raise ValueError('a stage is a percent, as in 10, or an object, as in {"count": 20, "hardware": ["pi4"]}')
    return said


AnyStage = Annotated[StageBody, BeforeValidator(_share, json_schema_input_type=float | StageBody)]


class ProbationBody(_Strict):
    """How long a model is watched after it took over."""

    seconds: float = Field(default=600.0, ge=0, le=86400 * 30)
    min_requests: int = Field(default=20, ge=0, le=10**9)
    max_error_percent: float = Field(default=1.0, ge=0, le=100)


class AudienceBody(_Strict):
    """Whom it is for; empty means everyone."""

    tags: list[str] = Field(default=[], max_length=32)
    hardware: list[str] = Field(default=[], max_length=64)


class RolloutBody(_Strict):
    """A rollout to plan or to start."""

    release: str = Field(max_length=80, examples=["fashion/3"])
    model: str | None = Field(default=None, description="may be given too, and must be the release's")
    regions: list[str] = Field(default=[], max_length=1000, description="empty means every region")
    stages: list[AnyStage] = Field(
        default_factory=lambda: [StageBody(percent=100.0)],
        min_length=1,
        max_length=32,
        description="percents, rising, or stages in the long form",
        json_schema_extra={"default": [100.0]},
    )
    gate: GateBody = GateBody()
    probation: ProbationBody = ProbationBody()
    audience: AudienceBody = AudienceBody()
    policies: dict[str, dict[str, Any]] = Field(default={}, description="by region; else that of server.toml")
    soak_s: float = Field(
        default=0.0, ge=0, le=86400 * 30, description="each stage is judged on so long once its gate is open"
    )
    deadline_s: float = Field(default=DEADLINE_S, ge=1, le=86400 * 365)
    accept_interface_change: bool = Field(
        default=False, description="the release may change the contract with applications; force does not say so"
    )
    force: bool = Field(default=False, description="go on although no device matches, or the region runs it already")
    late_joiners: Literal["join", "wait"] = Field(default="join", description="wait: they take it once it is complete")
    max_under_way: int | None = Field(
        default=None, ge=1, le=10**7, description="devices that fetch at once; else about 100"
    )
    plan_digest: str = Field(
        default="", max_length=MOST, description="of the plan that was looked at; refused if it changed"
    )

    def order(self) -> Order:
        """Return it in the controller's terms; raise BadRequest where a policy or name is none."""
        release = self.release
        if self.model is not None:
            if "/" not in release:
                release = f"{self.model}/{release}"
            if parse_release_name(release)[0] != self.model:
                raise BadRequest(f"the model is {self.model} and the release is {release}")
        return Order(
            release=release,
            regions=tuple(dict.fromkeys(self.regions)),
            stages=tuple(_stage(row, self.soak_s) for row in self.stages),
            gate=_gate(self.gate),
            probation=Probation(**self.probation.model_dump()),
            audience=converted(self.audience.model_dump(), Audience, "audience", BadRequest),
            policies={region: _policy(region, rows) for region, rows in self.policies.items()},
            deadline_s=self.deadline_s,
            accept_interface_change=self.accept_interface_change,
            force=self.force,
            late_joiners=self.late_joiners,
            max_under_way=self.max_under_way,
            plan_digest=self.plan_digest,
        )


class AssignmentBody(_Strict):
    """Where a device belongs."""

    region: str = Field(max_length=64)
    tags: list[str] = Field(default=[], max_length=32)


class CommandBody(_Strict):
    """What a device should do at once."""

    action: str = Field(min_length=1, max_length=128, pattern=r"^[a-z][a-z0-9-]*$", examples=["diagnose"])
    arguments: dict[str, Annotated[str, Field(max_length=2000)]] = Field(default={}, max_length=16)
    life_s: float = Field(default=DEFAULT_LIFE_S, ge=1, le=MAX_COMMAND_S, description="after it, no device obeys it")


class ReasonBody(_Strict):
    """Why a person does it."""

    why: str = Field(default="", max_length=500)


def _gate(body: GateBody) -> Gate:
    return converted(body.model_dump(), Gate, "gate", BadRequest)


def _stage(body: StageBody, soak_s: float) -> StageOrder:
    return StageOrder(
        percent=body.percent,
        count=body.count,
        tags=tuple(body.tags),
        hardware=tuple(body.hardware),
        devices=tuple(body.devices),
        approval=body.approval,
        soak_s=soak_s if body.soak_s is None else body.soak_s,
        gate=None if body.gate is None else _gate(body.gate),
    )


def _policy(region: str, rows: dict[str, Any]) -> Policy:
    if extra := sorted(set(rows) - set(Policy.__struct_fields__)):
        raise BadRequest(
            f"the policy of {region} has {extra[0]!r}, which is not known. Known: {', '.join(Policy.__struct_fields__)}"
        )
    policy = converted(rows, Policy, f"policies.{region}", BadRequest)
    try:
        check_policy(policy)
    except BadPolicy as error:
        raise BadRequest(f"the policy of {region}: {error}") from error
    if policy.timezone is not None and not is_known(policy.timezone):
        raise BadRequest(
            f"the policy of {region}: timezone is {policy.timezone}, which is no time zone: write one as Europe/Berlin or UTC"
        )
    return policy
