"""Stages that are for nobody: what nobody ran proves nothing, so no stage opens on it. Pure.

A stage is looked at by itself: of devices that were let in before, those count that it is for, too. A share of a small region
may come to no device at all; it is made as wide as its first device, as anybody who asks for a share first means.
"""

from collections.abc import Collection, Iterable, Sequence

import msgspec

from edgefleet_protocol.audience import is_for, stable_number, why_outside
from edgefleet_protocol.rollout import Assignment, Stage

from .evidence import class_of, joined
from .waves import Member


def is_empty(assignment: Assignment, fleet: Iterable[Member]) -> bool:
    """Return whether the open stage is for no device of the audience, whatever that device can do now."""
    stage = assignment.stages[min(assignment.stage, len(assignment.stages) - 1)]
    for device in fleet:
        hardware_class = class_of(device.hardware)
        if why_outside(device.tags, hardware_class, assignment, joined(device.joined_s)):
            continue
        if is_for(stage, device.id, device.tags, hardware_class, stable_number(device.id, assignment)):
            return False
    return True


class Firsts:
    """The devices with the smallest numbers for each stage of which no device was seen yet."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._waiting = dict(enumerate(stages))
        self._numbers: dict[int, list[float]] = {}

    def see(self, device: str, tags: tuple[str, ...], hardware_class: str, number: float) -> None:
        """Take note of a device that would run the release."""
        for place, stage in tuple(self._waiting.items()):
            if is_for(stage, device, tags, hardware_class, number):
                del self._waiting[place]
                self._numbers.pop(place, None)
            elif is_for(_whole(stage), device, tags, hardware_class, number):
                least = self._numbers.setdefault(place, [])
                self._numbers[place] = sorted([*least, number])[:2]

    @property
    def empty(self) -> tuple[int, ...]:
        """The stages, from 0, that are for none of them."""
        return tuple(self._waiting)

    @property
    def shares(self) -> dict[int, float]:
        """By stage that is for none of them, the percent with which it is for its first one; where no share would do, none."""
        found = {}
        for place in self._waiting:
            if least := self._numbers.get(place):
                found[place] = (least[0] + (least[1] if len(least) > 1 else 100.0)) / 2
        return found


def _whole(stage: Stage) -> Stage:
    """A share of everybody who it is for; a stage of named devices only is no share."""
    return msgspec.structs.replace(stage, percent=100.0) if stage.percent else stage


def widened(assignment: Assignment, shares: dict[int, float]) -> Assignment:
    """Return `assignment` with these stages as wide as `shares` says."""
    stages = tuple(
        msgspec.structs.replace(stage, percent=shares.get(place, stage.percent))
        for place, stage in enumerate(assignment.stages)
    )
    return msgspec.structs.replace(assignment, stages=stages)


def widened_words(place: int, said: Sequence[str], region: str) -> str:
    """Return what became of a share that comes to nobody."""
    return f"stage {place + 1} ({said[place]}) comes to no device in {region}, so it is for the first one"


def in_words(empty: Collection[int], said: Sequence[str], region: str) -> str | None:
    """Return why a rollout with these stages is refused, or None for none. said: all stages in the order's words."""
    if not empty:
        return None
    named = ", ".join(f"stage {place + 1} ({said[place]})" for place in sorted(empty))
    return (
        f"{named} is for no device in {region} that would run it, so it would prove nothing: leave it out, or say for whom "
        "it is"
    )
