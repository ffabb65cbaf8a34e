"""What a Raspberry Pi's firmware says when asked by its own tool, `vcgencmd`: where sysfs does not say it."""

import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from .plugins import MAX_W
from .sensors import reasons

PATIENCE_S = 1.0
MAX_FAILURES = 3
AGAIN_S = 600.0
"""A tool that failed so often in a row is let be for so long: a busy board may have made it late, and one that is broken costs a process each time."""
_ADC = re.compile(r"(\S+)_([AV]) (?:current|volt)\(\d+\)=([0-9]{1,9}(?:\.[0-9]{0,12})?)[AV]")


class Firmware:
    """The tool below one root. Never raises, and never waits long."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._tool, self._clock = root / "usr/bin/vcgencmd", clock
        self._failures, self._not_before = 0, 0.0

    def throttled(self) -> tuple[str, ...] | None:
        """Return why the clock is held back now, or None where the tool does not say."""
        found = re.search(r"throttled=(0x[0-9a-fA-F]+)", self._ask("get_throttled"))
        return reasons(int(found[1], 16)) if found else None

    def power_w(self) -> float | None:
        """Return what a Raspberry Pi 5 draws, by its PMIC, or None."""
        return board_power_w(self._ask("pmic_read_adc"))

    def _ask(self, word: str) -> str:
        if self._clock() < self._not_before or not self._tool.is_file():
            return ""
        try:
            done = subprocess.run(
                [str(self._tool), word], capture_output=True, timeout=PATIENCE_S, check=True, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.SubprocessError):
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._failures, self._not_before = 0, self._clock() + AGAIN_S
            return ""
        self._failures = 0
        return done.stdout[:65536].decode("utf-8", "replace")


def board_power_w(said: str) -> float | None:
    """Return the board's power from the rails that the PMIC measures, or None where it names none.

    The rails' sum lies below what the wall gives; the line of a community's fit brings it there: 1.1451 * sum + 0.5879 W.
    """
    values = {(name, kind): float(value) for name, kind, value in _ADC.findall(said)}
    rails = [
        amperes * values[name, "V"] for (name, kind), amperes in values.items() if kind == "A" and (name, "V") in values
    ]
    power = round(1.1451 * sum(rails) + 0.5879, 3) if rails else None
    return power if power is None or power <= MAX_W else None
