"""How far a large stage is opened at once: so many devices fetch, and the next come when those are done. Pure.

Devices that fetch at the same time delay everything else on their broker (docs/scaling.md), so they come about a hundred at a time; but each
wave is one signed document that every device of the region reads, so a stage of many thousands opens in eight.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from edgefleet_protocol.audience import stable_number, stage_of, why_outside
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.rollout import Assignment

from .evidence import Evidence, class_of, joined

LEAST = 100
MOST_WAVES = 8


@dataclass(frozen=True)
class Wave:
    """How far the open stage is open. `percent` None: all of it."""

    percent: float | None
    why: str


@dataclass(frozen=True)
class Newcomer:
    """A device that the open stage lets in, and no stage before it."""

    number: float
    online: bool


class Member(Protocol):
    """What matters of a device: `Device` and a plan's `Known` have it."""

    @property
    def id(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def hardware(self) -> Hardware | None: ...
    @property
    def online(self) -> bool: ...
    @property
    def joined_s(self) -> float | None: ...


def newcomers(assignment: Assignment, fleet: Iterable[Member]) -> tuple[Newcomer, ...]:
    """Return the devices that the open stage lets in, by their numbers."""
    found = []
    for device in fleet:
        hardware_class = class_of(device.hardware)
        if why_outside(device.tags, hardware_class, assignment, joined(device.joined_s)):
            continue
        number = stable_number(device.id, assignment)
        if stage_of(device.id, device.tags, hardware_class, assignment, number) == assignment.stage:
            found.append(Newcomer(number, device.online))
    return tuple(sorted(found, key=lambda row: row.number))


def limit(assignment: Assignment, count: int) -> int:
    """Return how many may be under way at once, in a stage of `count` newcomers."""
    if assignment.max_under_way is not None:
        return assignment.max_under_way
    return max(LEAST, -(-count // MOST_WAVES))


def under_way(evidence: Iterable[Evidence]) -> int:
    """Return how many were let in, are heard of, and do not run it yet: those that load the broker."""
    return sum(row.standing == "under way" and not row.serves for row in evidence)


def opening(assignment: Assignment, rows: Sequence[Newcomer], busy: int) -> Wave | None:
    """Return how far the stage may be opened now, or None while too many are under way.

    rows: from `newcomers`. busy: from `under_way`. A stage that was just opened has `opened_percent` 0.
    """
    opened = 100.0 if assignment.opened_percent is None else assignment.opened_percent
    waiting = [row for row in rows if row.number >= opened]
    if not waiting:
        return Wave(None, "every device of the stage is let in")
    most = limit(assignment, len(rows))
    room = most - busy
    # A quarter at least, so that a wave is not one device at a time; a wave is one document for the whole region.
    if room <= 0 or (room < most / 4 and busy > 0):
        return None
    taken = 0
    for place, row in enumerate(waiting):
        # Who is offline costs nothing now.
        if row.online and taken == room:
            let_in = len(rows) - len(waiting) + place
            return Wave(row.number, f"{let_in} of the {len(rows)} devices of the stage are let in, {most} at once")
        taken += row.online
    return Wave(None, f"all {len(rows)} devices of the stage are let in")


def first(assignment: Assignment, fleet: Iterable[Member], busy: int = 0) -> float | None:
    """Return how far the open stage is opened at first; None: all of it."""
    rows = newcomers(assignment, fleet)
    if len(rows) <= limit(assignment, len(rows)) - busy:
        return None
    wave = opening(msgspec.structs.replace(assignment, opened_percent=0.0), rows, busy)
    return 0.0 if wave is None else wave.percent


def at_first(assignment: Assignment, stage: int, fleet: Iterable[Member], evidence: Iterable[Evidence]) -> float | None:
    """Return how far `stage` is opened at first beside those that are under way already; None: all of it."""
    return first(msgspec.structs.replace(assignment, stage=stage, opened_percent=None), fleet, under_way(evidence))
