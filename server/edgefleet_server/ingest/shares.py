"""How much of one device is kept in an hour: the database belongs to the whole fleet. Used by one thread."""

from collections import Counter

HOUR_S = 3600.0


class Shares:
    """Counts by device and hour; an hour that is over is forgotten."""

    def __init__(self, per_hour: int) -> None:
        self._per_hour = per_hour
        self._hour = 0
        self._counts: Counter[str] = Counter()

    def is_over(self, device: str, now: float) -> bool:
        """Return whether the device had its share of this hour."""
        self._turn(now)
        return self._counts[device] >= self._per_hour

    def count(self, device: str, now: float) -> None:
        """Count one more of the device."""
        self._turn(now)
        self._counts[device] += 1

    def _turn(self, now: float) -> None:
        if (hour := int(now // HOUR_S)) != self._hour:
            self._hour = hour
            self._counts.clear()
