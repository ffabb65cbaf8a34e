"""What a run and its crowds say to each other, one JSON object a line."""

from typing import Literal

import msgspec

from .link import Line


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """The devices of one crowd, and where their broker is."""

    numbers: tuple[int, ...]
    fleet: str
    host: str
    port: int
    root: bytes
    slow: Line | None = None
    """The line of the slow ones."""
    slow_percent: int = 0
    clock_late_s: float = 0.0
    """Every third device boots at 1970, and knows the time so much later."""

    def name(self, number: int) -> str:
        """Return a device's name."""
        return name_of(number)


def name_of(number: int) -> str:
    """Return the name of device `number`."""
    return f"sim-{number:06d}"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to happen to some devices, or to all where none are named."""

    do: Literal["boot", "cut", "tear", "clone"]
    numbers: tuple[int, ...] = ()
    over_s: float = 0.0
    """Spread over so many seconds."""
    down_s: float | None = None
    """After a cut, when power is back; None: never."""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """How the devices of a crowd are, as they themselves know."""

    devices: int = 0
    on: int = 0
    connected: int = 0
    assigned: int = 0
    proven: dict[str, int] = {}
    serving: dict[str, int] = {}
    phases: dict[str, int] = {}
    served: dict[str, int] = {}
    """By release: devices on which it ever took real requests."""
    unsent: int = 0
    """Messages that the broker has not acknowledged."""
    torn: int = 0
    """Of those that were torn off together, how many are not back."""
    back_s: list[float] = []
    turns: int = 0
    cpu_s: float = 0.0
    looks_asked: int = 0
    looks_made: int = 0


def add(counts: list[Count]) -> Count:
    """Return the sum over crowds."""
    out: dict[str, object] = {}
    for field in Count.__struct_fields__:
        values = [getattr(count, field) for count in counts]
        if values and isinstance(values[0], dict):
            names = {name for value in values for name in value}
            out[field] = {name: sum(value.get(name, 0) for value in values) for name in sorted(names)}
        elif values and isinstance(values[0], list):
            out[field] = sorted(row for value in values for row in value)
        else:
            out[field] = sum(values)
    return Count(**out)  # type: ignore[arg-type]
