"""What a worker counts for telemetry, between two questions of the agent."""

import math
import threading
from collections.abc import Sequence

from edgefleet_protocol.sketch import SketchBuilder

from .messages import Counted


class Counters:
    """Requests, errors, latency and confidence since they were last taken, and totals for the statistics of the OIP."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh()
        self.answered_total = 0
        self.refused_total = 0
        self.answered_ns = 0
        self.refused_ns = 0
        self.queue_ns = 0
        self.infer_ns = 0
        self.last_ms = 0

    def _fresh(self) -> None:
        self._requests = 0
        self._errors = 0
        self._latency = SketchBuilder()
        self._confidence = SketchBuilder()

    def answered(self, seconds: float, at_s: float, waited_s: float = 0.0, computed_s: float = 0.0) -> None:
        """Count a request that got its answer."""
        with self._lock:
            self._requests += 1
            self._latency.add(seconds)
            self.answered_total += 1
            self.answered_ns += int(seconds * 1e9)
            self.queue_ns += int(waited_s * 1e9)
            self.infer_ns += int(computed_s * 1e9)
            self.last_ms = int(at_s * 1000)

    def confident(self, values: Sequence[float]) -> None:
        """Take the confidence of each sample of an answer."""
        with self._lock:
            for value in values:
                if math.isfinite(value):
                    self._confidence.add(value)

    def refused(self, seconds: float, *, by_us: bool) -> None:
        """Count a request that got an error. Only one that is our fault (`by_us`: 5xx) is an error of the model."""
        with self._lock:
            self._requests += 1
            self._errors += by_us
            self.refused_total += 1
            self.refused_ns += int(seconds * 1e9)

    def take(self) -> Counted:
        """Return what was counted since the last time, and begin anew."""
        with self._lock:
            confidence = self._confidence.build()
            counted = Counted(
                requests=self._requests,
                errors=self._errors,
                latency=self._latency.build(),
                confidence=confidence if confidence.count else None,
            )
            self._fresh()
        return counted
