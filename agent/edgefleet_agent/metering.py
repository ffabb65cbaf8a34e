"""What adds up over a window: energy, seconds held back, bytes. Readings in, one finished DeviceWindow out; reads nothing itself.

Energy is the trapezoid of the readings of power, of which there are several a second while requests run. Power at rest is the 5th percentile of what was read in windows without a
request: of those, for a device that serves without a pause never rests.
"""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from msgspec.structs import replace

from edgefleet_protocol.telemetry import DeviceWindow, InterfaceWindow

MAX_GAP_S = 15.0
"""Between two readings further apart nobody knows what was drawn: nothing is counted for it."""
IDLE_KEPT, IDLE_NEEDED = 720, 12
"""Readings at rest: kept, and needed before a percentile of them is told."""


Powers = Sequence[tuple[float, float]]
"""(monotonic seconds, watts), the oldest first."""


class Metering:
    """The meter of one device. `sample` as often as the probe is asked, `close` once a window."""

    def __init__(self) -> None:
        self._last: tuple[float, DeviceWindow] | None = None
        self._energy_j = self._energy_s = 0.0
        self._held: dict[str, float] | None = None
        self._read: list[float] = []
        self._idle: deque[float] = deque(maxlen=IDLE_KEPT)
        self._closed: DeviceWindow | None = None

    def sample(self, now: float, read: DeviceWindow, between: Powers = ()) -> DeviceWindow:
        """Count one reading, taken at `now` in monotonic seconds; return it as it is.

        between: what was read of the same source of power alone since the reading before.
        """
        if read.throttled is not None and self._held is None:
            self._held = {}
        if self._last is not None:
            self._between(self._last[0], self._last[1], now, read, between)
        if read.power_w is not None:
            self._read.append(read.power_w)
        self._last = (now, read)
        return read

    def close(self, now: float, read: DeviceWindow, between: Powers = (), *, served: bool) -> DeviceWindow:
        """Return the window's row, and begin the next. `served`: whether any request came in the window."""
        self.sample(now, read, between)
        if not served:
            self._idle.extend(self._read)
        before, self._closed = self._closed, read
        row = replace(
            read,
            throttled_s={word: round(seconds, 1) for word, seconds in self._held.items()}
            if self._held is not None
            else None,
            energy_j=round(self._energy_j, 3) if self._energy_s else None,
            energy_s=round(self._energy_s, 1) if self._energy_s else None,
            idle_w=round(sorted(self._idle)[len(self._idle) // 20], 3) if len(self._idle) >= IDLE_NEEDED else None,
            storage_written_bytes=_grown(before.storage_written_bytes if before else None, read.storage_written_bytes),
            network=_traffic((before and before.network) or (), read.network),
        )
        self._energy_j = self._energy_s = 0.0
        self._held, self._read = None, []
        if read.throttled is not None:
            self._held = {}
        return row

    def _between(self, began: float, before: DeviceWindow, now: float, after: DeviceWindow, powers: Powers) -> None:
        if before.power_w is not None and after.power_w is not None and before.power_source == after.power_source:
            rows = [(at, watts) for at, watts in powers if began < at < now]
            self._draw([(began, before.power_w), *rows, (now, after.power_w)])
        seconds = now - began
        if not 0 < seconds <= MAX_GAP_S:
            return
        for word in after.throttled or ():
            if self._held is not None:
                self._held[word] = self._held.get(word, 0.0) + seconds

    def _draw(self, rows: Powers) -> None:
        """Add what was drawn between readings, in their order; nothing for a gap in which nobody looked."""
        for (first, one), (second, other) in pairwise(rows):
            seconds = second - first
            if 0 < seconds <= MAX_GAP_S:
                self._energy_j += seconds * (one + other) / 2
                self._energy_s += seconds


def _grown(before: int | None, now: int | None) -> int | None:
    """Return by how much a counter grew; None at first, and when it began anew."""
    return None if before is None or now is None or now < before else now - before


def _traffic(
    before: tuple[InterfaceWindow, ...], now: tuple[InterfaceWindow, ...] | None
) -> tuple[InterfaceWindow, ...] | None:
    known = {row.name: row for row in before}
    found = []
    for row in now or ():
        old = known.get(row.name)
        received = _grown(old.received_bytes if old else None, row.received_bytes)
        sent = _grown(old.sent_bytes if old else None, row.sent_bytes)
        if received is not None and sent is not None:
            found.append(replace(row, received_bytes=received, sent_bytes=sent))
    return tuple(found) or None


def merge_devices(older: DeviceWindow, newer: DeviceWindow) -> DeviceWindow:
    """Return the row of two neighbouring windows: what adds up is added, the rest is as it was at the end."""
    rows = {row.name: row for row in older.network or ()}
    for row in newer.network or ():
        old = rows.get(row.name, InterfaceWindow(name=row.name))
        rows[row.name] = replace(
            row,
            received_bytes=old.received_bytes + row.received_bytes,
            sent_bytes=old.sent_bytes + row.sent_bytes,
        )
    held = dict(older.throttled_s or {})
    for word, seconds in (newer.throttled_s or {}).items():
        held[word] = held.get(word, 0.0) + seconds
    # Energy of two sources is no sum; the newer one's stands with its own seconds.
    same = older.power_source == newer.power_source or newer.energy_j is None
    return replace(
        newer,
        power_source=older.power_source
        if newer.energy_j is None and older.energy_j is not None
        else newer.power_source,
        energy_j=_sum(older.energy_j, newer.energy_j) if same else newer.energy_j,
        energy_s=_sum(older.energy_s, newer.energy_s) if same else newer.energy_s,
        throttled_s=None if older.throttled_s is None and newer.throttled_s is None else held,
        storage_written_bytes=_whole(older.storage_written_bytes, newer.storage_written_bytes),
        network=tuple(rows.values())[:16] or None,
    )


def _sum(first: float | None, second: float | None) -> float | None:
    return second if first is None else first if second is None else first + second


def _whole(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else first + second
