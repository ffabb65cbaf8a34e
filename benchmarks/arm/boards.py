"""Boards as files, with a battery and heat that a lab knows beforehand."""

import shutil
from pathlib import Path

from edgefleet_agent.hardware import samples

from .emulated import Processor

BATTERY = {
    "type": "Battery", "status": "Discharging", "present": "1", "capacity": "63", "energy_now": "31500000",
    "energy_full": "50000000", "power_now": "4200000", "voltage_now": "11800000",
}  # fmt: skip
HEAT_C = 61.3


def board(folder: Path, processor: Processor) -> None:
    """Write a root of files as this board's kernel would show them, with a battery that is at 63 % and a hot processor."""
    shutil.copytree(samples.path(processor.sample), folder)
    shutil.rmtree(folder / "sys/class/power_supply", ignore_errors=True)
    for name, text in BATTERY.items():
        _put(folder / "sys/class/power_supply/BAT0" / name, text)
    _put(folder / "sys/class/power_supply/AC/type", "Mains")
    _put(folder / "sys/class/power_supply/AC/online", "0")
    _put(folder / "sys/class/thermal/thermal_zone0/type", "cpu-thermal")
    _put(folder / "sys/class/thermal/thermal_zone0/temp", f"{1000 * HEAT_C:.0f}")


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")
