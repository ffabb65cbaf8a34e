"""How much of one device is kept in an hour: the database belongs to the whole fleet. Used by one thread."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

HOUR_S = 3600.0
MAX_HOURS = 500_000
"""Hours of devices that are remembered; beyond it all are forgotten, and asked of the database anew."""


class Shares:
    """Counts by device and hour; an hour that is over is forgotten."""

    def __init__(self, per_hour: int) -> None:
        self._per_hour = per_hour
        self._hour = 0
        self._counts: Counter[str] = Counter()

    def is_over(self, device: str, now: float, coming: int = 0) -> bool:
        """Return whether the device had its share of this hour, with `coming` that are not counted yet."""
        self._turn(now)
        return self._counts[device] + coming >= self._per_hour

    def count(self, device: str, now: float, by: int) -> None:
        """Count `by` more of the device."""
        self._turn(now)
        self._counts[device] += by

    def _turn(self, now: float) -> None:
        if (hour := int(now // HOUR_S)) != self._hour:
            self._hour = hour
            self._counts.clear()


DeviceHour = tuple[str, int]


class HourlyWindows:
    """How many windows of a device and an hour are kept, without a question to the database for each.

    Of the hour in which a window was and not in which it came: an outbox that empties brings many hours at once.
    """

    def __init__(self) -> None:
        self._counts: dict[DeviceHour, int] = {}

    def learn(self, hours: Iterable[DeviceHour], ask: Callable[[list[DeviceHour]], Mapping[DeviceHour, int]]) -> None:
        """Remember the count of each of `hours`; ask: of those that are not remembered yet, all at once."""
        if missing := [hour for hour in hours if hour not in self._counts]:
            if len(self._counts) + len(missing) > MAX_HOURS:
                self._counts.clear()
                missing = list(hours)
            self._counts.update(ask(missing))

    def of(self, hour: DeviceHour) -> int:
        """Return the count of an hour that was learnt."""
        return self._counts[hour]

    def add(self, hour: DeviceHour) -> None:
        """Count one more that is kept."""
        if hour in self._counts:
            self._counts[hour] += 1
