"""How the device is now: heat, throttling, battery, power, load, memory, storage. What it lacks is None, never zero.

On the machine itself (root `/`) psutil (tried with 7.2) reads what it reads better: it knows older kernels, and sensors that
our own readers miss. It has no prefix for /sys, so for the roots of tests and the demo, and for what it does not know at all
(throttling, zones that do not compute), there are readers of our own.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import psutil

from ..serve.memory import pss_bytes
from .files import kilobytes, matching, text, whole

_THROTTLED = ((0, "under-voltage"), (1, "capped"), (2, "throttled"), (3, "soft-limit"))
_MAILBOX_ERROR = 0x80000000
"""With this bit set, the number is the firmware's error and no state."""

_COMPUTES = re.compile(r"cpu|soc|gpu|tj|pkg|core|k\d+temp|zenpower", re.IGNORECASE)
"""Thermal zones of what computes; a PMIC's zone says 100 °C for ever, a battery's or Wi-Fi's says nothing of throttling."""


T = TypeVar("T")
HERE = Path("/")


def ask(read: Callable[[], T]) -> T | None:
    """Return what psutil reads, or None where this machine does not have it."""
    try:
        return read()
    except (psutil.Error, OSError, AttributeError, ValueError, RuntimeError):
        return None  # no such file, not allowed, or a system for which psutil does not define the function


def temperature_c(root: Path) -> float | None:
    """Return the temperature of the hottest part that computes, or None."""
    zones = [
        (text(zone / "type") or "", whole(zone / "temp")) for zone in matching(root, "sys/class/thermal/thermal_zone*")
    ]
    # A zone that is switched off reads as an impossible temperature.
    known = [(kind, value / 1000) for kind, value in zones if value is not None and -40_000 < value < 150_000]
    computing = [value for kind, value in known if _COMPUTES.search(kind)]
    rest = [value for kind, value in known if "pmic" not in kind.lower()]
    found = max(computing or rest, default=None)
    return _temperature_by_hwmon() if found is None and root == HERE else found


def _temperature_by_hwmon() -> float | None:
    """Return the hottest reading of a chip that computes, where there are no thermal zones: most x86 machines."""
    chips = ask(lambda: psutil.sensors_temperatures()) or {}
    readings = [row.current for chip, rows in chips.items() if _COMPUTES.search(chip) for row in rows]
    return max((value for value in readings if -40 < value < 150), default=None)


def throttled(root: Path) -> tuple[str, ...] | None:
    """Return why the clock is held back now, empty when it is not; None where nobody says (all but Raspberry Pi)."""
    for path in matching(root, "sys/devices/platform/soc*/soc*:firmware/get_throttled"):
        try:
            bits = int(text(path) or "", 16)
        except ValueError:
            continue
        return reasons(bits)
    return None


def reasons(bits: int) -> tuple[str, ...] | None:
    """Return the firmware's number in words: what holds now; None where the number is an error."""
    return None if bits & _MAILBOX_ERROR else tuple(word for bit, word in _THROTTLED if bits >> bit & 1)


def battery(root: Path) -> tuple[float | None, bool | None]:
    """Return the charge in percent and whether it is on external power; (None, None) without a battery."""
    supplies = matching(root, "sys/class/power_supply/*")
    mains = [whole(path / "online") for path in supplies if text(path / "type") in ("Mains", "USB", "Wireless")]
    for path in supplies:
        # A mouse's battery has the scope Device.
        if text(path / "type") != "Battery" or text(path / "scope") == "Device" or whole(path / "present") == 0:
            continue
        percent = _percent(path)
        if percent is None:
            continue
        status = text(path / "status")
        if status in ("Charging", "Full", "Not charging"):
            return percent, True
        if status == "Discharging":
            return percent, False
        return percent, any(value == 1 for value in mains) if mains else None
    return _battery_of_psutil() if root == HERE else (None, None)


def _battery_of_psutil() -> tuple[float | None, bool | None]:
    found = ask(lambda: psutil.sensors_battery())
    return (None, None) if found is None else (float(min(100, max(0, found.percent))), found.power_plugged)


def _percent(path: Path) -> float | None:
    capacity = whole(path / "capacity")
    if capacity is not None:
        return float(min(100, max(0, capacity)))
    for kind in ("energy", "charge"):
        now, full = whole(path / f"{kind}_now"), whole(path / f"{kind}_full")
        if now is not None and full:
            return round(min(100.0, max(0.0, 100 * now / full)), 1)
    return None


_TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


class Load:
    """The load of all cores between two readings."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before = self._read()

    def percent(self) -> float | None:
        """Return the share of time that was not idle since the last call; None when no time has passed or nobody says."""
        now, before = self._read(), self._before
        self._before = now
        if now is None or before is None or now[1] <= before[1]:
            return None
        # The kernel's count of waiting for I/O may go down, by its own documentation.
        return round(100 * min(1.0, max(0.0, 1 - (now[0] - before[0]) / (now[1] - before[1]))), 1)

    def _read(self) -> tuple[float, float] | None:
        """Time spent idle, and all time."""
        if self._root == HERE and (times := ask(psutil.cpu_times)) is not None:
            # In seconds here, and in ticks below: only shares are told. Guest time is in user already.
            parts = [getattr(times, name, 0.0) for name in _TIMES]
            return parts[3] + parts[4], sum(parts)
        first = (text(self._root / "proc/stat") or "").partition("\n")[0].split()
        if len(first) < 5 or first[0] != "cpu" or not all(word.isdigit() for word in first[1:]):
            return None
        # user nice system idle iowait irq softirq steal; guest time is in user already
        ticks = [int(value) for value in first[1:9]]
        return sum(ticks[3:5]), sum(ticks)


def memory_available_bytes(root: Path) -> int | None:
    """Return what a new process could have, as the kernel estimates it."""
    if root == HERE and (memory := ask(psutil.virtual_memory)) is not None:
        return int(memory.available)
    return kilobytes(root / "proc/meminfo", "MemAvailable")


def storage_free_bytes(folder: Path) -> int | None:
    """Return the free bytes of the file system that holds `folder`."""
    usage = _usage(folder)
    return None if usage is None else usage.free


def storage_bytes(folder: Path) -> int | None:
    """Return the size of the file system that holds `folder`."""
    usage = _usage(folder)
    return None if usage is None else usage.total


class _Usage(Protocol):
    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


def _usage(folder: Path) -> _Usage | None:
    # A folder that is not there yet will be made on the file system of the one above it.
    for there in (folder, *folder.absolute().parents):
        try:
            usage: _Usage = psutil.disk_usage(str(there))
            return usage
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def agent_memory_bytes() -> int | None:
    """Return this process' proportional set size; always of the real /proc."""
    found = pss_bytes(Path("/proc/self"))
    # A kernel without smaps: the resident size, which counts shared pages in full, is better than nothing.
    resident = ask(lambda: psutil.Process().memory_info().rss) if found is None else found
    return None if resident is None else int(resident)
