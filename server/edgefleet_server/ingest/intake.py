"""Telemetry into the database: many messages to a transaction, each window by itself, and each once."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.topics import Topics

from ..config import KeepConfig
from ..link.inbox import Incoming
from ..regions.current import Residency
from ..seams import Clock
from ..store import heard, rollups, windows
from ..store.database import Connection, Database, Unavailable
from ..store.windows import Placed
from .counters import Counters
from .shares import HOUR_S, DeviceHour, HourlyWindows
from .telemetry import Parsed, parse, place

LOG = logging.getLogger(__name__)

DAY_S = 86400.0
TOUCH_S = 15.0
"""That a device spoke is kept as often as that: its row is large, and telemetry may come every second."""
MAX_TOUCHED = 200_000


@dataclass
class Tally:
    """What to count once a batch is stored, and not before: it may have to be tried again."""

    counts: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, by: int = 1, reason: str | None = None) -> None:
        """Count `by` more of `name`."""
        self.counts[name] += by
        if reason is not None:
            self.reasons[name] = reason

    def tell(self, counters: Counters) -> None:
        """Hand everything on."""
        for name, by in self.counts.items():
            counters.add(name, by, reason=self.reasons.get(name))


@dataclass
class Batch:
    """Windows of several messages that can be kept, and what became of the rest."""

    placed: list[Placed] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    """By device that spoke: windows that it says it lost."""
    tally: Tally = field(default_factory=Tally)


class Intake:
    """Takes telemetry. Used by one thread."""

    def __init__(
        self,
        topics: Topics,
        database: Database,
        clock: Clock,
        counters: Counters,
        keep: KeepConfig | None = None,
        residency: Residency | None = None,
    ) -> None:
        """residency: takes out of windows what must not be kept here."""
        self._topics, self._database, self._clock, self._counters = topics, database, clock, counters
        self._keep, self._residency = keep or KeepConfig(), residency
        self._hours = HourlyWindows()
        self._touched: dict[str, float] = {}

    def handle(self, messages: Sequence[Incoming]) -> None:
        """Store what `messages` hold, in one transaction. Raises Unavailable, and then nothing of it is stored or counted."""
        now = self._clock.now()
        try:
            self._store(self._read(messages, now), now)
        except Unavailable:
            raise
        except Exception as error:  # a fault of ours: it costs the message that it is about, and no other
            if len(messages) > 1:
                LOG.exception("%d messages could not be stored together; trying each by itself", len(messages))
                for message in messages:
                    self.handle([message])
                return
            LOG.exception("a message on %s could not be stored", messages[0].topic)
            self._counters.add("telemetry_faults", reason=f"{messages[0].topic}: {error!r}")

    def _read(self, messages: Sequence[Incoming], now: float) -> Batch:
        """Return what of `messages` can be kept. Looks at nothing but them."""
        batch = Batch()
        oldest_s = now - self._keep.windows_days * DAY_S
        for message in messages:
            try:
                parsed = self._open(message)
            except ProtocolError as error:
                batch.tally.add("telemetry_refused", reason=f"{message.topic}: {error}")
                continue
            batch.tally.add("telemetry_taken")
            batch.dropped[parsed.device] = parsed.dropped_windows
            for why in parsed.refused:
                batch.tally.add("windows_refused", reason=f"{message.topic}: {why}")
            for window in parsed.windows:
                placed_s, by_arrival = place(window, now)
                if placed_s < oldest_s:
                    why = f"{parsed.device}: a window from more than {self._keep.windows_days:g} days ago"
                    batch.tally.add("windows_too_old", reason=why)
                else:
                    batch.placed.append(Placed(parsed.device, window, placed_s, by_arrival))
        return batch

    def _open(self, message: Incoming) -> Parsed:
        name = self._topics.parse(message.topic).name
        return parse(message.payload, of=name)

    def _store(self, batch: Batch, now: float) -> None:
        touched = {
            device: dropped
            for device, dropped in batch.dropped.items()
            if now >= self._touched.get(device, float("-inf")) + TOUCH_S
        }
        with self._database.append() as connection:
            within = self._within_shares(connection, batch)
            new = windows.add(connection, self._may_stay(connection, within, now), now)
            rollups.add(connection, new, now)
            heard.put(connection, touched, now)
        if len(self._touched) > MAX_TOUCHED:
            self._touched.clear()
        self._touched.update(dict.fromkeys(touched, now))
        for one in new:
            self._hours.add(hour_of(one))
        batch.tally.add("windows_taken", len(new))
        batch.tally.add("windows_repeated", len(within) - len(new))
        batch.tally.tell(self._counters)

    def _may_stay(self, connection: Connection, placed: list[Placed], now: float) -> list[Placed]:
        """Return the windows without what must not be kept here."""
        if self._residency is None:
            return placed
        kept = self._residency.kept_each(connection, [(one.device, one.window) for one in placed], now)
        return [one._replace(window=window) for one, window in zip(placed, kept, strict=True)]

    def _within_shares(self, connection: Connection, batch: Batch) -> list[Placed]:
        """Return those of the batch whose device has not had its share of their hour."""
        most = self._keep.windows_per_device_per_hour
        coming = Counter(map(hour_of, batch.placed))
        self._hours.learn(coming, lambda hours: windows.counts(connection, hours))
        if all(self._hours.of(hour) + n <= most for hour, n in coming.items()):
            return batch.placed
        return self._share_out(connection, batch)

    def _share_out(self, connection: Connection, batch: Batch) -> list[Placed]:
        """The same where some may be over: each name counts but once, so that what is sent again pushes out nothing new."""
        most = self._keep.windows_per_device_per_hour
        names = windows.known(connection, [one.key for one in batch.placed])
        coming: Counter[DeviceHour] = Counter()
        found = []
        for one in batch.placed:
            hour = hour_of(one)
            if one.key not in names:
                if self._hours.of(hour) + coming[hour] >= most:
                    why = f"{one.device} sent more than {most} windows of one hour"
                    batch.tally.add("windows_over_share", reason=why)
                    continue
                coming[hour] += 1
                names.add(one.key)
            found.append(one)
        return found


def hour_of(one: Placed) -> DeviceHour:
    """Return the device and the hour that a window belongs to."""
    return one.device, int(one.placed_s // HOUR_S)
