"""What is counted of many windows in one place of time and kind. Two cells merge to the cell of all their windows.

A cell of models: requests, errors, memory of workers, and the histograms of latency and confidence. A cell of devices: what
boards were like, and the energy that they took, by the sensor that measured it.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from edgefleet_protocol.sketch import MAX_COUNT
from edgefleet_protocol.telemetry import DeviceWindow

from .distinct import Mark, Seen, mark_of
from .packed import Pile, pack_counts
from .stored import Counts, StoredFacts

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
UNNAMED = "unnamed"
"""The source of energy of a device that does not say which sensor it has."""


class ModelKey(NamedTuple):
    """Whose requests: one minute, and everything by which roll-ups are told apart."""

    minute_s: int
    region: str
    model: str
    release: str
    variant: str
    hardware_class: str


class DeviceKey(NamedTuple):
    """Which devices, in one minute."""

    minute_s: int
    region: str
    hardware_class: str


class Spread(msgspec.Struct, array_like=True):
    """Of a measurement: how often it was taken, its sum, the least and the most. Its mean is sum by n."""

    n: int = 0
    sum: float = 0.0
    least: float = 0.0
    most: float = 0.0

    def add(self, value: float | None) -> None:
        """Count a measurement; None is none."""
        if value is None:
            return
        if not self.n:
            self.least = self.most = float(value)
        elif value < self.least:
            self.least = float(value)
        elif value > self.most:
            self.most = float(value)
        self.n += 1
        self.sum += value

    def merge(self, other: "Spread") -> None:
        """Count what `other` counted."""
        if other.n == 0:
            return
        self.least = min(self.least, other.least) if self.n else other.least
        self.most = max(self.most, other.most) if self.n else other.most
        self.n, self.sum = self.n + other.n, self.sum + other.sum

    @property
    def mean(self) -> float | None:
        """The mean, or None of nothing."""
        return self.sum / self.n if self.n else None


class Energy(msgspec.Struct, array_like=True):
    """What one kind of sensor measured: joules of the whole board, over how many seconds, and how many requests were
    answered meanwhile. Never add two sources: they measure different things."""

    joules: float = 0.0
    seconds: float = 0.0
    requests: int = 0

    def merge(self, other: "Energy") -> None:
        """Count what `other` counted."""
        self.joules, self.seconds = self.joules + other.joules, self.seconds + other.seconds
        self.requests = min(self.requests + other.requests, MAX_COUNT)


class DeviceFacts(msgspec.Struct, array_like=True):
    """What boards were like. What a device lacks is not counted. Stored by place: new fields come last, with a default."""

    temperature_c: Spread = msgspec.field(default_factory=Spread)
    cpu_percent: Spread = msgspec.field(default_factory=Spread)
    battery_percent: Spread = msgspec.field(default_factory=Spread)
    power_w: Spread = msgspec.field(default_factory=Spread)
    memory_available_bytes: Spread = msgspec.field(default_factory=Spread)
    storage_free_bytes: Spread = msgspec.field(default_factory=Spread)
    agent_memory_bytes: Spread = msgspec.field(default_factory=Spread)
    throttle_told: int = 0
    """Windows that said whether the clock was held back."""
    throttled: int = 0
    """And those in which it was, for any reason."""
    reasons: dict[str, int] = msgspec.field(default_factory=dict)
    energy: dict[str, Energy] = msgspec.field(default_factory=dict)

    def add(self, board: DeviceWindow, seconds: float, requests: int) -> None:
        """Count one window of one device."""
        for name, value in zip(MEASURED, _measured(board), strict=True):
            if value is not None:
                getattr(self, name).add(value)
        if board.throttled is not None:
            self.throttle_told += 1
            if board.throttled:
                self.throttled += 1
                for reason in set(board.throttled):
                    self._count(reason, 1)
        power_w = board.power_w
        if power_w is not None:
            self._burn(board.power_source or UNNAMED, Energy(power_w * seconds, seconds, requests))

    def merge(self, other: "DeviceFacts") -> None:
        """Count what `other` counted."""
        for name in MEASURED:
            getattr(self, name).merge(getattr(other, name))
        self.throttle_told += other.throttle_told
        self.throttled += other.throttled
        for reason, count in other.reasons.items():
            self._count(reason, count)
        for source, energy in other.energy.items():
            self._burn(source, energy)

    def _count(self, reason: str, by: int) -> None:
        # Devices choose these words: a hostile one must not make a row grow without end.
        name = reason if reason in self.reasons or len(self.reasons) < MAX_WORDS else OTHER
        self.reasons[name] = self.reasons.get(name, 0) + by

    def _burn(self, source: str, energy: Energy) -> None:
        name = source if source in self.energy or len(self.energy) < MAX_WORDS else OTHER
        self.energy.setdefault(name, Energy()).merge(energy)


MEASURED = (
    "temperature_c", "cpu_percent", "battery_percent", "power_w", "memory_available_bytes", "storage_free_bytes",
    "agent_memory_bytes",
)  # fmt: skip
MAX_WORDS = 24
OTHER = "other"


class ModelCell:
    """Requests of models."""

    __slots__ = ("confidence", "errors", "latency", "memory", "requests", "seen", "windows")

    def __init__(self) -> None:
        self.windows, self.requests, self.errors = 0, 0, 0
        self.memory = Spread()
        self.latency, self.confidence, self.seen = Pile(), Pile(), Seen()

    def add(self, counts: Counts, device: Mark) -> None:
        """Count one window of one device."""
        self.windows += 1
        self.requests = min(self.requests + counts.requests, MAX_COUNT)
        self.errors = min(self.errors + counts.errors, MAX_COUNT)
        self.memory.add(counts.memory_bytes)
        self.latency.add_packed(counts.latency)
        self.confidence.add_packed(counts.confidence)
        self.seen.add(device)

    def merge(self, other: "ModelCell") -> None:
        """Count what `other` counted."""
        self.windows += other.windows
        self.requests = min(self.requests + other.requests, MAX_COUNT)
        self.errors = min(self.errors + other.errors, MAX_COUNT)
        self.memory.merge(other.memory)
        for mine, its in ((self.latency, other.latency), (self.confidence, other.confidence)):
            mine.add_counts(its.offset, its.counts, its.zero)
        self.seen.merge(other.seen)


class DeviceCell:
    """Windows of devices."""

    __slots__ = ("facts", "seen", "windows")

    def __init__(self) -> None:
        self.windows, self.facts, self.seen = 0, DeviceFacts(), Seen()

    def merge(self, other: "DeviceCell") -> None:
        """Count what `other` counted."""
        self.windows += other.windows
        self.facts.merge(other.facts)
        self.seen.merge(other.seen)


class Sums(NamedTuple):
    """The cells of a few windows."""

    models: dict[ModelKey, ModelCell]
    devices: dict[DeviceKey, DeviceCell]


class Row(msgspec.Struct, array_like=True, frozen=True):
    """One window, with what the server knows of its device: as it waits to be rolled up."""

    device: str
    region: str
    hardware_class: str
    placed_s: float
    seconds: float
    board: StoredFacts
    models: list[Counts]


Waiting = tuple[str, str, str, float, float, msgspec.Raw, msgspec.Raw]
"""A Row whose board and models are bytes already: those that are stored with the window."""


def row_of(
    device: str, region: str, hardware_class: str, placed_s: float, seconds: float, facts: bytes, models: bytes
) -> Waiting:
    """Return a window as it waits to be rolled up. facts, models: as they are stored."""
    return device, region, _name(hardware_class), placed_s, seconds, msgspec.Raw(facts), msgspec.Raw(models)


def _name(text: str) -> str:
    """Return what a device calls something; no table of PostgreSQL can hold a NUL."""
    return text if "\0" not in text else OTHER


_measured = attrgetter(*MEASURED)


def sums(rows: Iterable[Row]) -> Sums:
    """Return the cells of these windows, by minute and kind."""
    found = Sums({}, {})
    for row in rows:
        minute_s, mark = int(row.placed_s // MINUTE_S) * MINUTE_S, mark_of(row.device)
        key = DeviceKey(minute_s, row.region, row.hardware_class)
        cell = found.devices.get(key) or found.devices.setdefault(key, DeviceCell())
        cell.windows += 1
        requests = 0
        for counts in row.models:
            requests += counts.requests
            release = _name(counts.release)
            whose = ModelKey(minute_s, row.region, counts.model, release, counts.variant, row.hardware_class)
            own = found.models.get(whose) or found.models.setdefault(whose, ModelCell())
            own.add(counts, mark)
        cell.facts.add(row.board, row.seconds, requests)
        cell.seen.add(mark)
    return found


def rows_packed(rows: list[Waiting]) -> bytes:
    """Return rows as bytes, to be stored until they are rolled up: some 250 for each, a microsecond."""
    return FORM + _ENCODER.encode(rows)


def rows_of(data: bytes) -> list[Row]:
    """Return the rows of bytes from `rows_packed`; also of what waited when form 0012 was made."""
    if data[:1] == FORM:
        return _ROWS.decode(memoryview(data)[1:])
    return [row.current() for row in _OLD_ROWS.decode(data)]


class _OldBoard(msgspec.Struct, array_like=True, frozen=True):
    measured: tuple[float | None, float | None, float | None, float | None, float | None, float | None, float | None]
    throttled: tuple[str, ...] | None
    power_source: str | None


_Histogram = tuple[int, tuple[int, ...], int]


class _OldCounts(msgspec.Struct, array_like=True, frozen=True):
    model: str
    release: str
    variant: str
    requests: int
    errors: int
    memory_bytes: int | None
    latency: _Histogram
    confidence: _Histogram | None

    def current(self) -> Counts:
        confidence = None if self.confidence is None else pack_counts(*self.confidence)
        names = (self.model, self.release, self.variant, self.requests, self.errors, self.memory_bytes)
        return Counts(*names, pack_counts(*self.latency), confidence)


class _OldRow(msgspec.Struct, array_like=True, frozen=True):
    device: str
    region: str
    hardware_class: str
    placed_s: float
    seconds: float
    board: _OldBoard
    models: tuple[_OldCounts, ...]

    def current(self) -> Row:
        board: dict[str, Any] = dict(zip(MEASURED, self.board.measured, strict=True))
        facts = StoredFacts(**board, throttled=self.board.throttled, power_source=self.board.power_source)
        whose = (self.device, self.region, self.hardware_class, self.placed_s, self.seconds)
        return Row(*whose, facts, [model.current() for model in self.models])


def facts_packed(facts: DeviceFacts) -> bytes:
    """Return what boards were like as bytes, for a row."""
    return _ENCODER.encode(facts)


def facts_of(data: bytes) -> DeviceFacts:
    """Return what boards were like, from a row."""
    return _FACTS.decode(data)


_FACTS = msgspec.msgpack.Decoder(DeviceFacts)
_ROWS = msgspec.msgpack.Decoder(list[Row])
_OLD_ROWS = msgspec.msgpack.Decoder(list[_OldRow])
FORM = b"\x02"
"""Before what rows_packed makes: no list of msgpack begins so, and what was made before is one."""
_ENCODER = msgspec.msgpack.Encoder()
