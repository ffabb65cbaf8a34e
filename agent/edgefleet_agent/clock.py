"""The device's own clocks."""

import time
from functools import cached_property
from pathlib import Path


class SystemClock:
    """Implements `seams.Clock`."""

    def now(self) -> float:
        """Seconds since 1970 by the device's clock."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since boot."""
        return time.monotonic()

    def boot(self) -> str:
        """The kernel's boot id; a start of the agent's own where there is none."""
        return self._boot

    @cached_property
    def _boot(self) -> str:
        try:
            return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return f"start-{time.time_ns()}"
