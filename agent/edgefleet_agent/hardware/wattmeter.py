"""Power read several times a second, in a thread that lives only as long as somebody wants it: while requests run."""

import threading
import time
from collections import deque
from collections.abc import Callable

KEPT = 512
"""Readings that nobody takes: at five a second, more than a minute and a half of them."""
MAX_FAILURES = 5
"""A sensor that failed so often in a row is let be until it is wanted again."""


class Wattmeter:
    """One sensor. `read` is called from the thread, and returns watts or None."""

    def __init__(self, read: Callable[[], float | None], every_s: float) -> None:
        self._read, self._every_s = read, every_s
        self._until = 0.0
        self._thread: threading.Thread | None = None
        self._readings: deque[tuple[float, float]] = deque(maxlen=KEPT)

    def want(self, until: float) -> None:
        """Read until then, in monotonic seconds; called again and again while it is wanted."""
        self._until = max(self._until, until)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="wattmeter", daemon=True)
            self._thread.start()

    def take(self) -> tuple[tuple[float, float], ...]:
        """Return (monotonic seconds, watts) of each reading since the last call."""
        found = []
        while self._readings:
            found.append(self._readings.popleft())
        return tuple(found)

    def _run(self) -> None:
        failures = 0
        while time.monotonic() < self._until and failures < MAX_FAILURES:
            watts = self._read()
            failures = failures + 1 if watts is None else 0
            if watts is not None:
                self._readings.append((time.monotonic(), watts))
            time.sleep(self._every_s)
