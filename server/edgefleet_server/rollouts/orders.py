"""What a person asks for when they start a rollout, checked against what there is."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from edgefleet_protocol.manifest import Release
from edgefleet_protocol.names import parse_release_name
from edgefleet_protocol.rollout import Assignment, Audience, Gate, Policy, Probation, ReleaseRef, Stage

from ..errors import BadRequest, NotFound
from ..seams import Repository

DEADLINE_S = 86400.0


@dataclass(frozen=True)
class Order:
    """A rollout as it was asked for."""

    release: str
    regions: tuple[str, ...] = ()
    """Empty means all."""
    stages: tuple[float, ...] = (100.0,)
    gate: Gate = field(default_factory=Gate)
    probation: Probation = field(default_factory=Probation)
    audience: Audience = field(default_factory=Audience)
    policies: Mapping[str, Policy] | None = None
    deadline_s: float = DEADLINE_S
    force: bool = False
    """Go on although no device matches, or the region runs it already."""
    accept_interface_change: bool = False
    """The region's applications know of it. Not part of `force`: devices would refuse the release all the same."""


@dataclass(frozen=True)
class Checked:
    """An order whose names all exist."""

    order: Order
    ref: ReleaseRef
    manifest: Release
    regions: tuple[str, ...]

    def assignment(self) -> Assignment:
        """Return the assignment of the first stage."""
        order = self.order
        return Assignment(
            model=self.manifest.model,
            release=self.ref,
            audience=order.audience,
            stages=tuple(Stage(percent=percent, gate=order.gate) for percent in order.stages),
            stage=0,
            probation=order.probation,
            deadline_s=order.deadline_s,
            accept_interface_change=order.accept_interface_change,
        )


def check(order: Order, repository: Repository) -> Checked:
    """Return the order with what it names; raise NotFound or BadRequest, naming what there is instead."""
    parse_release_name(order.release)
    listed = repository.releases()
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
    if not order.stages or any(not 0 < percent <= 100 for percent in order.stages):
        raise BadRequest(f"stages are {list(order.stages)}: write percents above 0 and up to 100, as in 10,50,100")
    if any(after <= before for before, after in zip(order.stages, order.stages[1:], strict=False)):
        raise BadRequest(f"stages are {list(order.stages)}: each must be larger than the one before")
    ref = listed[order.release]
    return Checked(order, ref, repository.manifest(ref)[0], order.regions or regions)
