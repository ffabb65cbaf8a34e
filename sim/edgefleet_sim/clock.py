"""A device's two clocks: one counts since boot, the other is at 1970 until the network has told the time."""

import time


class DeviceClock:
    """Implements the agent's `Clock`. time_after_s: how long after boot the wall's clock is right; 0: at once."""

    def __init__(self, boot_id: str, time_after_s: float = 0.0) -> None:
        self._boot_id, self._booted, self._time_after_s = boot_id, time.monotonic(), time_after_s

    def now(self) -> float:
        """Seconds since 1970 by the device's clock."""
        up = time.monotonic() - self._booted
        return up if up < self._time_after_s else time.time()

    def monotonic(self) -> float:
        """Seconds by the machine's monotonic clock: the crowd's loop uses it too."""
        return time.monotonic()

    def boot(self) -> str:
        """The boot id."""
        return self._boot_id
