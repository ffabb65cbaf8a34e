"""Whether a command, whose signature was verified, is to be obeyed. Pure.

A command is obeyed once, by the device that it names, and not later than it says. A device whose clock can be trusted judges
the time by it. One without a clock cannot, so it obeys only what was meant for the very connection that stands now: whoever
holds a command back can do so for as long as this connection lasts, and no longer.
"""

from dataclasses import dataclass
from typing import Literal

from edgefleet_protocol.messages import MAX_COMMAND_S, Command

SKEW_S = 60.0
"""A clock that is further behind than this is judged as none."""

Kind = Literal["foreign", "replayed", "late"]


@dataclass(frozen=True)
class Here:
    """The device that judges."""

    device: str
    epoch: str
    number: int
    session: int
    wall_s: float
    clock_trusted: bool
    floor_s: float = 0.0
    """The latest signed time that was verified: it is later than this, whatever the clock says."""


@dataclass(frozen=True)
class Refusal:
    """Why not. `answer`: whether the server, which did sign it, is told by a reply too."""

    kind: Kind
    why: str
    answer: bool = True


def refuse(command: Command, here: Here) -> Refusal | None:
    """Return why `command` must not be obeyed, or None."""
    if command.device != here.device:
        return Refusal("foreign", f"it is for {command.device} and this is {here.device}", answer=False)
    if command.epoch != here.epoch:
        return Refusal(
            "replayed", f"it counts in epoch {command.epoch or 'none'} and this device is in {here.epoch or 'none'}"
        )
    if command.number <= here.number:
        why = f"its number is {command.number} and number {here.number} was obeyed already"
        return Refusal("replayed", why, answer=False)
    left_s = command.expires_s - here.wall_s
    if here.clock_trusted and left_s < 0:
        return Refusal("late", f"it expired {-left_s:.0f} s ago by this device's clock")
    if command.expires_s < here.floor_s:
        return Refusal("late", f"it expired {here.floor_s - command.expires_s:.0f} s before the last signed time")
    if here.clock_trusted and left_s <= MAX_COMMAND_S + SKEW_S:
        return None
    if command.session != here.session:
        no_clock = f"by this clock it lives {left_s:.0f} s more, and {MAX_COMMAND_S:.0f} are allowed"
        why = no_clock if here.clock_trusted else "this device has no clock to judge its time by"
        return Refusal("late", f"{why}; it was meant for connection {command.session} and this is {here.session}")
    return None
