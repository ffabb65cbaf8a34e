"""What rules and /metrics ask for: groups of devices since the start and in the last minutes, and what each device is like now.

Groups come from the roll-ups, as they are folded, so that each window is added up once, in whichever process it came.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

from edgefleet_protocol.telemetry import DeviceWindow

from ..alerts.facts import GroupFacts
from ..seams import Clock
from ..store import follow, rollup_reads
from ..store.database import Database
from ..store.rollups import Counted, Folded
from ..telemetry.cells import OTHER
from ..telemetry.packed import Pile

RECENT_S = 900.0
MINUTE_S = 60.0
BATTERY_S = 6 * 3600.0
BATTERY_POINTS = 13
"""One for each half hour."""
MOST_SENSORS = 1000
Group = tuple[str, str, str, str]
"""Region, model, release, variant."""


@dataclass
class Total:
    """What a group did since the server started."""

    requests: int = 0
    errors: int = 0
    latency: Pile = field(default_factory=Pile)

    def take(self, counted: Counted) -> None:
        """Count more."""
        self.requests += counted.requests
        self.errors += counted.errors
        self.latency.add_packed(counted.latency)


@dataclass
class _Known:
    placed_s: float
    facts: DeviceWindow
    battery: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=BATTERY_POINTS))


class Follower:
    """Reads each window of a device once, and takes what is folded. Its methods may be called from any thread."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock
        self._lock = threading.Lock()
        self._totals: dict[Group, Total] = {}
        self._minutes: dict[int, dict[Group, Total]] = {}
        self._joules: dict[tuple[str, str], float] = {}
        self._devices: dict[str, _Known] = {}
        now = clock.now()
        with database.read() as connection:
            # Counters begin at the start; what the rules know of the last hours begins before it.
            self._place = follow.since(connection, now - BATTERY_S)
            for row in rollup_reads.recent(connection, now - RECENT_S):
                counted = Counted(row.requests, row.errors, row.latency)
                self._minute(row.start_s, (row.region, row.model, row.release, row.variant)).take(counted)

    def take(self, folded: Folded) -> None:
        """Take in what was folded just now."""
        oldest_s = self._clock.now() - RECENT_S
        with self._lock:
            for key, counted in folded.models.items():
                group = (key.region, key.model, key.release, key.variant)
                self._totals.setdefault(group, Total()).take(counted)
                if key.minute_s + MINUTE_S >= oldest_s:
                    self._minute(key.minute_s, group).take(counted)
            for pair, joules in folded.joules.items():
                # Devices name their sensors: what is made up must not become series without end.
                kept = pair if pair in self._joules or len(self._joules) < MOST_SENSORS else (pair[0], OTHER)
                self._joules[kept] = self._joules.get(kept, 0.0) + joules

    def look(self) -> None:
        """Take in what devices measured of themselves since the last look."""
        with self._lock, self._database.read() as connection:
            place = min(self._place, follow.newest(connection))
            while spans := follow.windows(connection, place):
                for span in spans:
                    self._know(span)
                place = spans[-1].number
            self._place = place

    def totals(self) -> dict[Group, Total]:
        """Return by group what was counted since the start."""
        with self._lock:
            found = {}
            for group, one in self._totals.items():
                latency = Pile()
                latency.add_counts(one.latency.offset, one.latency.counts, one.latency.zero)
                found[group] = Total(one.requests, one.errors, latency)
        return found

    def joules(self) -> dict[tuple[str, str], float]:
        """Return by region and sensor what was measured since the start."""
        with self._lock:
            return dict(self._joules)

    def groups(self) -> tuple[GroupFacts, ...]:
        """Return the groups of the last RECENT_S."""
        oldest_s = self._clock.now() - RECENT_S
        found: dict[Group, Total] = {}
        with self._lock:
            for minute_s in [minute_s for minute_s in self._minutes if minute_s + MINUTE_S < oldest_s]:
                del self._minutes[minute_s]
            for minute in self._minutes.values():
                for group, one in minute.items():
                    whole = found.setdefault(group, Total())
                    whole.requests += one.requests
                    whole.latency.add_counts(one.latency.offset, one.latency.counts, one.latency.zero)
        return tuple(
            GroupFacts(*group, requests=one.requests, p95_s=one.latency.quantiles(0.95)[0])
            for group, one in sorted(found.items())
        )

    def device(self, name: str) -> tuple[float, DeviceWindow, float | None] | None:
        """Return when a device measured itself last, what, and its battery's percent points an hour; None: not lately."""
        with self._lock:
            known = self._devices.get(name)
            if known is None:
                return None
            return known.placed_s, known.facts, _per_hour(known.battery)

    def _minute(self, minute_s: int, group: Group) -> Total:
        return self._minutes.setdefault(minute_s, {}).setdefault(group, Total())

    def _know(self, span: follow.DeviceSpan) -> None:
        known = self._devices.get(span.device)
        if known is None:
            known = self._devices[span.device] = _Known(span.placed_s, span.facts)
        elif span.placed_s >= known.placed_s:
            known.placed_s, known.facts = span.placed_s, span.facts
        if span.placed_s < known.placed_s:
            return  # from an outbox that empties: of then, and no point of the trend of now
        while known.battery and span.placed_s - known.battery[0][0] > BATTERY_S:
            known.battery.popleft()  # a trend over days in which it was not heard says nothing
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
