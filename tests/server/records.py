"""Short ways to write the facts that the pure deciders are asked about."""

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState, Failure, ModelState, Running
from edgefleet_protocol.rollout import Assignment, Gate, Policy, ReleaseRef, Stage
from edgefleet_server.store.devices import Device
from edgefleet_server.store.rollouts import Record, Status
from tests.fakes.scripted_device import PI4

NEW, OLD = "b" * 64, "a" * 64
GATE, POLICY = Gate(), Policy()


def assignment(
    sha256: str = NEW, number: int = 2, *, stages: tuple[float, ...] = (100.0,), stage: int = 0, gate: Gate = GATE
) -> Assignment:
    return Assignment(
        model="fashion",
        release=ReleaseRef(path=f"releases/fashion/{number}.json", sha256=sha256),
        stages=tuple(Stage(percent=percent, gate=gate) for percent in stages),
        stage=stage,
        deadline_s=600.0,
    )


def record(
    *,
    stages: tuple[float, ...] = (50.0, 100.0),
    stage: int = 0,
    status: Status = "running",
    gate: Gate = GATE,
    previous: Assignment | None = None,
    policy: Policy = POLICY,
    previous_policy: Policy | None = None,
    updated_s: float = 1000.0,
) -> Record:
    return Record(
        id=1,
        region="eu-west",
        model="fashion",
        release="fashion/2",
        assignment=assignment(stages=stages, stage=stage, gate=gate),
        policy=policy,
        previous=previous,
        previous_policy=previous_policy,
        status=status,
        why="as it was",
        started_s=1000.0,
        stage_opened_s=1000.0,
        updated_s=updated_s,
    )


def device(
    name: str = "one",
    *,
    online: bool = True,
    last_seen_s: float | None = 1000.0,
    first_seen_s: float = 0.0,
    hardware: Hardware | None = PI4,
    tags: tuple[str, ...] = (),
    region: str | None = "eu-west",
    wanted: str | None = None,
    running: str | None = None,
    proven: bool = False,
    failed: str | None = None,
    said: bool = True,
    trust_problem: str | None = None,
) -> Device:
    """`wanted`, `running` and `failed` are digests of releases."""
    runs = None
    if running:
        runs = Running(
            release="fashion/x",
            release_sha256=running,
            variant="fp32",
            variant_sha256="c" * 64,
            since_s=0.0,
            proven=proven,
        )
    failures: tuple[Failure, ...] = ()
    if failed:
        failures = (
            Failure(
                release="fashion/x",
                release_sha256=failed,
                variant="fp32",
                stage="trial",
                reason="answers differ",
                at_s=0.0,
            ),
        )
    model = ModelState(
        model="fashion", phase="trying", why="trying fp32", wanted_sha256=wanted, running=runs, failures=failures
    )
    state = DeviceState(
        device=name,
        session=3,
        boot="boot",
        at_s=900.0,
        agent_version="0.1.0",
        hardware=hardware,
        trust_problem=trust_problem,
        models=(model,) if wanted or running or failed else (),
    )
    return Device(
        id=name,
        online=online,
        session=3,
        boot="boot",
        first_seen_s=first_seen_s,
        last_seen_s=last_seen_s,
        region=region,
        tags=tags,
        assigned_number=1,
        assignment=None,
        state=state if said else None,
        state_bytes=b"" if said else None,
        state_at_s=900.0,
    )
