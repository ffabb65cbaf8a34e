"""Telemetry into the database: many messages to a transaction, each window by itself, and each once."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.topics import Topics

from ..config import KeepConfig
from ..link.inbox import Incoming
from ..regions.current import Residency
from ..seams import Clock
from ..store import heard, rollups, windows
from ..store.database import Connection, Database, Unavailable
from ..store.windows import Placed, Ready
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

    def copy(self) -> "Tally":
        """Return one that counts on from here."""
        return Tally(self.counts.copy(), self.reasons.copy())

    def tell(self, counters: Counters) -> None:
        """Hand everything on."""
        for name, by in self.counts.items():
            counters.add(name, by, reason=self.reasons.get(name))


@dataclass
class Batch:
    """Windows of several messages that can be kept, and what became of the rest."""

    now: float
    ready: list[Ready] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    """By device that spoke: windows that it says it lost."""
    tally: Tally = field(default_factory=Tally)
    fault: Exception | None = None
    """Of ours, in the way of the whole batch."""


class Intake:
    """Takes telemetry. `read` may be used by one thread while another is in `store`."""

    def __init__(
        self,
        topics: Topics,
        database: Database,
        clock: Clock,
        counters: Counters,
        keep: KeepConfig | None = None,
        residency: Residency | None = None,
        is_gone: Callable[[str], bool] = lambda device: False,
    ) -> None:
        """residency: takes out of windows what must not be kept here. is_gone: of devices whose telemetry is for nobody."""
        self._topics, self._database, self._clock, self._counters = topics, database, clock, counters
        self._keep, self._residency, self._is_gone = keep or KeepConfig(), residency, is_gone
        self._hours = HourlyWindows()
        self._touched: dict[str, float] = {}
        self._names: dict[str, str] = {}
        """By topic: each device's comes again and again."""

    def handle(self, messages: Sequence[Incoming]) -> None:
        """Store what `messages` hold, in one transaction. Raises Unavailable, and then nothing of it is stored or counted."""
        self.store(messages, self.read(messages))

    def read(self, messages: Sequence[Incoming]) -> Batch:
        """Return what of `messages` can be kept. Looks at nothing but them, and at who was decommissioned."""
        batch = Batch(self._clock.now())
        try:
            for message in messages:
                self._read(message, batch)
        except Exception as error:  # told when each is tried by itself
            batch.fault = error
        return batch

    def store(self, messages: Sequence[Incoming], batch: Batch) -> None:
        """Store what was read of `messages`, in one transaction. It may be called again when it raised Unavailable."""
        try:
            if isinstance(batch.fault, Unavailable):  # the database was away while it was read, and may be back
                batch = self.read(messages)
            if batch.fault is not None:
                raise batch.fault
            self._store(batch)
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

    def _read(self, message: Incoming, batch: Batch) -> None:
        now, tally = batch.now, batch.tally
        try:
            parsed = self._open(message)
        except ProtocolError as error:
            tally.add("telemetry_refused", reason=f"{message.topic}: {error}")
            return
        if self._is_gone(parsed.device):
            tally.add("telemetry_of_gone", reason=f"{parsed.device} was decommissioned")
            return
        tally.add("telemetry_taken")
        batch.dropped[parsed.device] = parsed.dropped_windows
        for why in parsed.refused:
            tally.add("windows_refused", reason=f"{message.topic}: {why}")
        for window in parsed.windows:
            placed_s, by_arrival = place(window, now)
            if placed_s < now - self._keep.windows_days * DAY_S:
                why = f"{parsed.device}: a window from more than {self._keep.windows_days:g} days ago"
                tally.add("windows_too_old", reason=why)
            else:
                batch.ready.append(windows.ready(Placed(parsed.device, window, placed_s, by_arrival), now))

    def _open(self, message: Incoming) -> Parsed:
        name = self._names.get(message.topic)
        if name is None:
            if len(self._names) > MAX_TOUCHED:
                self._names.clear()
            name = self._names[message.topic] = self._topics.parse(message.topic).name
        return parse(message.payload, of=name)

    def _store(self, batch: Batch) -> None:
        now, tally = batch.now, batch.tally.copy()  # it may be tried again
        touched = {
            device: dropped
            for device, dropped in batch.dropped.items()
            if now >= self._touched.get(device, float("-inf")) + TOUCH_S
        }
        with self._database.append() as connection:
            within = self._may_stay(connection, self._within_shares(connection, batch.ready, tally), now)
            new = windows.keep(connection, within)
            rollups.add(connection, new, now)
            heard.put(connection, touched, now)
        if len(self._touched) > MAX_TOUCHED:
            self._touched.clear()
        self._touched.update(dict.fromkeys(touched, now))
        for one in new:
            self._hours.add(hour_of(one.placed))
        tally.add("windows_taken", len(new))
        tally.add("windows_repeated", len(within) - len(new))
        tally.tell(self._counters)

    def _may_stay(self, connection: Connection, ready: list[Ready], now: float) -> list[Ready]:
        """Return the windows without what must not be kept here."""
        if self._residency is None:
            return ready
        kept = self._residency.kept_each(connection, [(one.placed.device, one.placed.window) for one in ready], now)
        return [
            one if window is one.placed.window else windows.ready(one.placed._replace(window=window), now)
            for one, window in zip(ready, kept, strict=True)
        ]

    def _within_shares(self, connection: Connection, ready: list[Ready], tally: Tally) -> list[Ready]:
        """Return those whose device has not had its share of their hour."""
        most = self._keep.windows_per_device_per_hour
        coming = Counter(hour_of(one.placed) for one in ready)
        self._hours.learn(coming, lambda hours: windows.counts(connection, hours))
        if all(self._hours.of(hour) + n <= most for hour, n in coming.items()):
            return ready
        return self._share_out(connection, ready, tally)

    def _share_out(self, connection: Connection, ready: list[Ready], tally: Tally) -> list[Ready]:
        """The same where some may be over: each name counts but once, so that what is sent again pushes out nothing new."""
        most = self._keep.windows_per_device_per_hour
        names = windows.known(connection, [one.placed.key for one in ready])
        coming: Counter[DeviceHour] = Counter()
        found = []
        for one in ready:
            hour, key = hour_of(one.placed), one.placed.key
            if key not in names:
                if self._hours.of(hour) + coming[hour] >= most:
                    tally.add(
                        "windows_over_share", reason=f"{one.placed.device} sent more than {most} windows of one hour"
                    )
                    continue
                coming[hour] += 1
                names.add(key)
            found.append(one)
        return found


def hour_of(one: Placed) -> DeviceHour:
    """Return the device and the hour that a window belongs to."""
    return one.device, int(one.placed_s // HOUR_S)
