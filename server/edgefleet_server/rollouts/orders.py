"""What a person asks for when they start a rollout, checked against what there is."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec

from edgefleet_protocol.audience import stable_number, why_outside
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.names import parse_release_name
from edgefleet_protocol.rollout import Assignment, Audience, Gate, Policy, Probation, ReleaseRef, Stage
from edgefleet_protocol.wrong_type import converted

from ..errors import BadRequest, NotFound, Refused
from ..seams import Repository
from .evidence import class_of
from .plan import Known

DEADLINE_S = 86400.0
MOST_BYTES = 30_000
"""Of one assignment: devices read 64 kB of a region's document, and it has what ran before and class tables, too."""
MOST_NAMED = 500
"""Devices that stages may name: each name travels to every device of the region."""


@dataclass(frozen=True)
class StageOrder:
    """One stage as it was asked for: a share, a number of devices, or devices by name; each of certain tags and hardware only."""

    percent: float | None = None
    count: int | None = None
    """So many devices, those of the stages before among them."""
    tags: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    approval: bool = False
    soak_s: float = 0.0
    """How long its devices are judged on once its gate is open."""
    gate: Gate | None = None
    """None: the order's."""

    @property
    def words(self) -> str:
        """As people say it."""
        share = (
            f"{self.count} devices"
            if self.count is not None
            else f"{self.percent:.10g} %"  # 100.0001 is not 100
            if self.percent is not None
            else ""
        )
        of = f"of {', '.join((*self.hardware, *self.tags))}" if self.hardware or self.tags else ""
        named = f"{len(self.devices)} named" if self.devices else ""
        return " ".join(part for part in (share, of, named) if part)


@dataclass(frozen=True)
class Order:
    """A rollout as it was asked for."""

    release: str
    regions: tuple[str, ...] = ()
    """Empty means all."""
    stages: tuple[float | StageOrder, ...] = (100.0,)
    gate: Gate = field(default_factory=Gate)
    probation: Probation = field(default_factory=Probation)
    audience: Audience = field(default_factory=Audience)
    policies: Mapping[str, Policy] | None = None
    deadline_s: float = DEADLINE_S
    force: bool = False
    """Go on although no device matches, or the region runs it already."""
    accept_interface_change: bool = False
    """The region's applications know of it. Not part of `force`: devices would refuse the release all the same."""
    late_joiners: Literal["join", "wait"] = "join"
    """Whether devices that come to the region while it runs take part, or take the release once it is complete."""
    max_under_way: int | None = None
    plan_digest: str = ""
    """Of the plan that was looked at: what is started must be what was planned."""

    @property
    def every_stage(self) -> tuple[StageOrder, ...]:
        """The stages, shares too in the long form."""
        return tuple(row if isinstance(row, StageOrder) else StageOrder(percent=float(row)) for row in self.stages)


@dataclass(frozen=True)
class Checked:
    """An order whose names all exist."""

    order: Order
    ref: ReleaseRef
    manifest: Release
    regions: tuple[str, ...]

    def assignment(
        self, numbers: Callable[[Audience], Sequence[float]] | None = None, now: datetime | None = None
    ) -> Assignment:
        """Return the assignment of the first stage.

        numbers: the stable numbers, in order, of the devices with these tags and of this hardware, which a stage by count needs. now: when it
        begins, where devices that come later are to wait.
        """
        order = self.order
        return Assignment(
            model=self.manifest.model,
            release=self.ref,
            audience=order.audience,
            stages=tuple(self._stage(row, numbers) for row in order.every_stage),
            stage=0,
            probation=order.probation,
            deadline_s=order.deadline_s,
            accept_interface_change=order.accept_interface_change,
            joined_before=now if order.late_joiners == "wait" else None,
            max_under_way=order.max_under_way,
        )

    def _stage(self, row: StageOrder, numbers: Callable[[Audience], Sequence[float]] | None) -> Stage:
        percent = row.percent or 0.0
        if row.count is not None:
            percent = _share_of(row.count, numbers(Audience(tags=row.tags, hardware=row.hardware)) if numbers else ())
        return Stage(
            percent=percent,
            gate=row.gate or self.order.gate,
            tags=row.tags,
            hardware=row.hardware,
            devices=row.devices,
            approval=row.approval,
            soak_s=row.soak_s,
        )

    @property
    def counts(self) -> bool:
        """Whether a stage is a number of devices."""
        return any(row.count is not None for row in self.order.every_stage)


def numbers_of(fleet: Iterable[Known], assignment: Assignment, of: Audience) -> tuple[float, ...]:
    """Return the stable numbers of the devices of the audience that are `of` these tags and this hardware, in order."""
    whom = msgspec.structs.replace(assignment, audience=of)
    found = []
    for one in fleet:
        hardware_class = class_of(one.hardware)
        if not (why_outside(one.tags, hardware_class, assignment) or why_outside(one.tags, hardware_class, whom)):
            found.append(stable_number(one.id, assignment))
    return tuple(sorted(found))


def _share_of(count: int, numbers: Sequence[float]) -> float:
    """Return the percent below which the numbers of just `count` devices lie: between the last that is in and the next."""
    if count >= len(numbers):
        return 100.0
    return (numbers[count - 1] + numbers[count]) / 2 if count else 0.0


def check(order: Order, repository: Repository, once: Collection[str] = ()) -> Checked:
    """Return the order with what it names; raise NotFound or BadRequest, naming what there is instead.

    once: releases that were listed at some time. Raises Refused for one that was withdrawn since.
    """
    model, _ = parse_release_name(order.release)
    listed = repository.releases()
    if order.release not in listed and order.release in once:
        others = sorted(name for name in listed if name.partition("/")[0] == model)
        raise Refused(
            f"{order.release} was withdrawn: its holders listed it once, and it is not listed any more, so no device would take it. "
            f"Still listed of {model}: {', '.join(others) or 'none'}. If it is good after all, its holders sign it anew: "
            "edgefleet trust sign, edgefleet trust publish"
        )
    if order.release not in listed:
        raise NotFound(
            f"the release {order.release} is not listed. Listed are: {', '.join(sorted(listed)) or 'none'}. "
            "A release is listed once its holders signed it: edgefleet trust sign, edgefleet trust publish"
        )
    regions = repository.regions()
    for region in order.regions:
        if region not in regions:
            raise NotFound(f"there is no region {region}. There are: {', '.join(regions) or 'none'}")
    for region in order.policies or {}:
        if region not in regions:
            raise NotFound(f"a policy is for the region {region}, and there are: {', '.join(regions) or 'none'}")
    _check_stages(order)
    ref = listed[order.release]
    checked = Checked(order, ref, repository.manifest(ref)[0], order.regions or regions)
    size = len(msgspec.json.encode(checked.assignment()))
    if size > MOST_BYTES:
        raise BadRequest(
            f"its stages and audience take {size} bytes and may take {MOST_BYTES}: give devices a tag and name that"
        )
    return checked


def _check_stages(order: Order) -> None:
    rows = order.every_stage
    shown = [row.words for row in rows]
    shares = [row.percent for row in rows if row.percent is not None]
    if not rows or any(not 0 < percent <= 100 for percent in shares):
        raise BadRequest(f"stages are {shown or 'none'}: write percents above 0 and up to 100, as in 10,50,100")
    for row in rows:
        if row.percent is not None and row.count is not None:
            raise BadRequest(f"a stage is {row.percent:g} % and {row.count} devices: say one of them")
        if row.percent is None and row.count is None and not row.devices:
            raise BadRequest("a stage says neither percent nor count nor devices, so nobody is in it")
        if row.count is not None and row.count < 1:
            raise BadRequest("a stage of no device opens for nobody: leave it out")
    if rows[0].approval:
        raise BadRequest(
            "the first stage opens when the rollout is started, which is a person's yes: give approval to later ones"
        )
    if sum(len(row.devices) for row in rows) > MOST_NAMED:
        raise BadRequest(f"stages name more than {MOST_NAMED} devices: give them a tag and name that")
    # Shares and counts of the same devices must grow; those of other tags or hardware are another matter.
    for kind in ("percent", "count"):
        before: dict[tuple[object, ...], float] = {}
        for row in rows:
            share, of = getattr(row, kind), (row.tags, row.hardware)
            if share is not None and share <= before.get(of, -1.0):
                raise BadRequest(f"stages are {shown}: each must be larger than the one before")
            if share is not None:
                before[of] = share
    rows_as_told = [
        {"percent": row.percent or 0.0, "tags": row.tags, "hardware": row.hardware, "devices": row.devices}
        for row in rows
    ]
    converted(rows_as_told, list[Stage], "stages", BadRequest)
