"""What the INA3221 of a Jetson measures: rails by name, found once, then read as often as one likes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .board import hwmons
from .files import matching, text, whole
from .plugins import MAX_W

INLETS = ("VDD_IN", "POM_5V_IN")
"""Rails through which all of a board's power comes; the others lie behind them."""
_CHANNELS = 3


@dataclass(frozen=True)
class Rail:
    """One channel. Watts are the product of what `factors` say, in thousandths each: mV and mA, or mW alone."""

    label: str
    factors: tuple[Path, ...]

    def watts(self) -> float | None:
        """Return what goes through it now, or None where it cannot be read, or where no board draws so much."""
        product = 1.0
        for path in self.factors:
            value = whole(path)
            if value is None:
                return None
            product *= value / 1000
        # The server would refuse the whole window for it, and its requests with it.
        return product if abs(product) <= MAX_W else None


class Rails:
    """The rails of the board below one root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: tuple[Rail, ...] = ()

    def power_w(self) -> float | None:
        """Return what the board draws: the inlet's, or the sum of all where none is the inlet; None without such a sensor."""
        power = _sum(self._found)
        if (
            power is None
        ):  # none was there yet, or it went: a module that was loaded later, another number after a rebind
            self._found = find(self._root)
            power = _sum(self._found)
        return power


def find(root: Path) -> tuple[Rail, ...]:
    """Return what is needed of the board's rails: the inlet alone, where there is one."""
    rails = {rail.label: rail for rail in (*_of_hwmon(root), *_of_iio(root))}
    return next(((rails[name],) for name in INLETS if name in rails), tuple(rails.values()))


def _of_hwmon(root: Path) -> Iterator[Rail]:
    """The mainline driver's, of JetPack 5 and later."""
    for monitor in hwmons(root, "ina3221"):
        for number in range(1, _CHANNELS + 1):
            factors = (monitor / f"in{number}_input", monitor / f"curr{number}_input")
            yield from _rail(monitor / f"in{number}_label", factors)


def _of_iio(root: Path) -> Iterator[Rail]:
    """NVIDIA's own driver's, of JetPack 4: a folder `iio_device` or `iio:device0` for each chip."""
    for chip in matching(root, "sys/bus/i2c/drivers/ina3221x/*/iio[:_]device*"):
        for number in range(_CHANNELS):
            yield from _rail(chip / f"rail_name_{number}", (chip / f"in_power{number}_input",))


def _rail(label: Path, factors: tuple[Path, ...]) -> Iterator[Rail]:
    name = text(label)
    if name and not re.fullmatch(r"NC\d*", name) and all(whole(path) is not None for path in factors):
        yield Rail(name, factors)


def _sum(rails: tuple[Rail, ...]) -> float | None:
    known = [watts for rail in rails if (watts := rail.watts()) is not None]
    return sum(known) if known else None
