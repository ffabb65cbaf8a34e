"""Groups of devices as their telemetry comes in: counts since the start, and the last minutes.

This is the seam for whatever keeps roll-ups: `groups`, `totals` and `device` are all that rules and /metrics ask for.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

from edgefleet_protocol.sketch import Sketch, merge
from edgefleet_protocol.telemetry import DeviceWindow

from ..alerts.facts import GroupFacts
from ..seams import Clock
from ..store import follow
from ..store.database import Database

RECENT_S = 900.0
MINUTE_S = 60.0
BATTERY_S = 6 * 3600.0
BATTERY_POINTS = 13
"""One for each half hour."""
Group = tuple[str, str, str, str]
"""Region, model, release, variant."""


@dataclass
class Total:
    """What a group did since the server started."""

    requests: int = 0
    errors: int = 0
    latency: Sketch = field(default_factory=Sketch)


@dataclass
class _Known:
    placed_s: float
    facts: DeviceWindow
    battery: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=BATTERY_POINTS))


class Follower:
    """Reads each window once. Its methods may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._lock = threading.Lock()
        self._totals: dict[Group, Total] = {}
        self._minutes: dict[int, dict[Group, Total]] = {}
        self._devices: dict[str, _Known] = {}
        with database.read() as connection:
            # Counters begin at the start; what the rules know of the last hours begins before it.
            self._began = follow.newest(connection).models
            self._place = follow.since(connection, clock.now() - BATTERY_S)

    def look(self) -> None:
        """Take in what came since the last look."""
        with self._lock, self._database.read() as connection:
            last = follow.newest(connection)
            place = follow.Place(min(self._place.models, last.models), min(self._place.windows, last.windows))
            now = self._clock.now()
            while rows := follow.models(connection, place.models):
                for row in rows:
                    self._take(row, now)
                place = follow.Place(rows[-1].number, place.windows)
            while spans := follow.windows(connection, place.windows):
                for span in spans:
                    self._know(span)
                place = follow.Place(place.models, spans[-1].number)
            self._place = place
            for minute in [minute for minute in self._minutes if (minute + 1) * MINUTE_S < now - RECENT_S]:
                del self._minutes[minute]

    def totals(self) -> dict[Group, Total]:
        """Return by group what was counted since the start."""
        with self._lock:
            return {group: Total(one.requests, one.errors, one.latency) for group, one in self._totals.items()}

    def groups(self) -> tuple[GroupFacts, ...]:
        """Return the groups of the last RECENT_S."""
        with self._lock:
            found: dict[Group, list[Total]] = {}
            for minute in self._minutes.values():
                for group, one in minute.items():
                    found.setdefault(group, []).append(one)
        return tuple(
            GroupFacts(
                *group,
                requests=sum(one.requests for one in rows),
                p95_s=merge(one.latency for one in rows).quantile(0.95),
            )
            for group, rows in sorted(found.items())
        )

    def device(self, name: str) -> tuple[float, DeviceWindow, float | None] | None:
        """Return when a device measured itself last, what, and its battery's percent points an hour; None: not lately."""
        with self._lock:
            known = self._devices.get(name)
            if known is None:
                return None
            return known.placed_s, known.facts, _per_hour(known.battery)

    def _take(self, row: follow.ModelSpan, now: float) -> None:
        group = (row.region, row.model, row.release, row.variant)
        totals = [self._totals.setdefault(group, Total())] if row.number > self._began else []
        if row.placed_s >= now - RECENT_S:
            minute = self._minutes.setdefault(int(row.placed_s // MINUTE_S), {})
            totals.append(minute.setdefault(group, Total()))
        for one in totals:
            one.requests += row.requests
            one.errors += row.errors
            one.latency = merge((one.latency, row.latency))

    def _know(self, span: follow.DeviceSpan) -> None:
        known = self._devices.get(span.device)
        if known is None:
            known = self._devices[span.device] = _Known(span.placed_s, span.facts)
        elif span.placed_s >= known.placed_s:
            known.placed_s, known.facts = span.placed_s, span.facts
        if span.facts.battery_charging:
            known.battery.clear()  # what it lost before says nothing of how it empties from now on
        elif span.facts.battery_percent is not None and (
            not known.battery or span.placed_s - known.battery[-1][0] >= BATTERY_S / (BATTERY_POINTS - 1)
        ):
            known.battery.append((span.placed_s, span.facts.battery_percent))


def _per_hour(points: "deque[tuple[float, float]]") -> float | None:
    if len(points) < 2:
        return None
    (began_s, first), (ended_s, last) = points[0], points[-1]
    return (last - first) / (ended_s - began_s) * 3600.0
