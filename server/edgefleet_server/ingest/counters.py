"""Counts of what was taken and refused, and the last reason for each kind of refusal."""

import threading


class Counters:
    """Numbers by name, safe from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._reasons: dict[str, str] = {}

    def add(self, name: str, by: int = 1, *, reason: str | None = None) -> None:
        """Count `by` more of `name`; keep `reason` as the last one."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + by
            if reason is not None:
                self._reasons[name] = reason[:500]

    def get(self, name: str) -> int:
        """Return the count of `name`."""
        with self._lock:
            return self._counts.get(name, 0)

    def snapshot(self) -> dict[str, int]:
        """Return all counts, by name."""
        with self._lock:
            return dict(sorted(self._counts.items()))

    def reasons(self) -> dict[str, str]:
        """Return the last reason by name, for those that have one."""
        with self._lock:
            return dict(sorted(self._reasons.items()))
