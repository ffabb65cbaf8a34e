"""Sensors that others bring: each named plug-in is asked in a thread of its own, so that one that hangs or raises hurts nobody.

A plug-in is a function of the entry-point group `edgefleet.sensors`. It takes the root below which /dev and /sys lie and
returns a Reading, or None for nothing. Only those that the owner names are loaded: asking a bus may disturb what hangs on it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

GROUP = "edgefleet.sensors"
EVERY_S = 30.0
MAX_W = 10_000.0
"""No board draws more: what is beyond is a sensor's fault."""
STALE_S = 120.0
"""A reading that is older is none: its plug-in hangs or fails."""


@dataclass(frozen=True)
class Reading:
    """What a plug-in says of the device. What it does not know stays None."""

    battery_percent: float | None = None
    battery_charging: bool | None = None
    """Whether the device is on external power."""
    power_w: float | None = None


def impossible(row: Reading) -> str | None:
    """Return what in a reading cannot be, in words, or None. One that passed on would cost the whole window, or a rule its ground."""
    for name, most in (("battery_percent", 100.0), ("power_w", MAX_W)):
        value = getattr(row, name)
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= most):
            return f"{name} is {value!r} and must be a number from 0 to {most:g}"
    if not isinstance(row.battery_charging, bool | None):
        return f"battery_charging is {row.battery_charging!r} and must be True, False or None"
    return None


Plugin = Callable[[Path], Reading | None]


def find(names: tuple[str, ...]) -> tuple[dict[str, Plugin], tuple[str, ...]]:
    """Return the plug-ins of these names, and a word of trouble for each that cannot be loaded."""
    if not names:
        return {}, ()
    from importlib.metadata import entry_points  # 2 MB that a device without plug-ins does not pay

    there = {entry.name: entry for entry in entry_points(group=GROUP)}
    found, troubles = {}, []
    for name in names:
        try:
            found[name] = there[name].load()
        except KeyError:
            troubles.append(f"no sensor plug-in is called {name}; there are {', '.join(sorted(there)) or 'none'}")
        except Exception as error:  # somebody else's code
            troubles.append(f"the sensor plug-in {name} cannot be loaded: {type(error).__name__}: {error}")
    return found, tuple(troubles)


class Plugins:
    """The plug-ins of one device, asked since the start; `read` never waits."""

    def __init__(self, plugins: Mapping[str, Plugin], root: Path, every_s: float = EVERY_S) -> None:
        self._root, self._every_s = root, every_s
        self._read: dict[str, tuple[float, Reading]] = {}
        self.troubles: dict[str, str] = {}
        """By name, why the last reading failed."""
        self.answered: set[str] = set()
        """Those that answered at all, or failed, since the start."""
        for name, plugin in plugins.items():
            threading.Thread(target=self._run, args=(name, plugin), name=f"sensor-{name}", daemon=True).start()

    def read(self) -> tuple[str, Reading] | None:
        """Return the first fresh reading with its plug-in's name, by the order of names; None without one."""
        now = time.monotonic()
        return next(
            ((name, row) for name, (at, row) in sorted(self._read.items()) if now - at <= STALE_S + self._every_s), None
        )

    def of(self, name: str) -> Reading | None:
        """Return the last reading of one plug-in."""
        row = self._read.get(name)
        return None if row is None else row[1]

    def _run(self, name: str, plugin: Plugin) -> None:
        while True:
            try:
                row = plugin(self._root)
            except Exception as error:  # somebody else's code
                self.troubles[name] = f"{type(error).__name__}: {error}"
            else:
                self.troubles.pop(name, None)
                if isinstance(row, Reading) and (fault := impossible(row)) is not None:
                    self.troubles[name] = fault
                elif isinstance(row, Reading):
                    self._read[name] = (time.monotonic(), row)
                else:
                    self._read.pop(name, None)
            self.answered.add(name)
            time.sleep(self._every_s)
