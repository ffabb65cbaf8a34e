"""Telemetry: bounded decompression, then each window by itself, so that a bad one costs only itself."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from edgefleet_protocol.codec import FORMAT, Document, decode
from edgefleet_protocol.errors import BadDocument, TooLarge
from edgefleet_protocol.names import DeviceId
from edgefleet_protocol.telemetry import MAX_BATCH_BYTES, MAX_WINDOWS, Count, DeviceWindow, TelemetryBatch, Window

MAX_PLAIN_BYTES = 1_000_000
"""64 windows are some 50 kB; a zlib bomb of 60 kB would be 60 MB."""
CLOCK_SLACK_S = 300.0
"""A trusted clock may be so far ahead of the server's."""
ABSURD = 1e9
"""Beyond every temperature, power and percentage."""
OLDEST_S = 60 * 86400.0
"""Windows from longer ago than an outbox holds are placed by when they came."""


class _Batch(Document, frozen=True, kw_only=True):
    """A TelemetryBatch with its windows still as bytes."""

    device: DeviceId
    windows: tuple[msgspec.Raw, ...]
    dropped_windows: Count = 0


@dataclass(frozen=True)
class Parsed:
    """The good windows of a batch, and why the others were refused."""

    device: str
    windows: tuple[Window, ...]
    refused: tuple[str, ...]
    dropped_windows: int


_whole = msgspec.json.Decoder(TelemetryBatch).decode


def parse(payload: bytes, *, of: str | None = None) -> Parsed:
    """Return what `payload` holds; raise BadDocument or TooLarge when it is no batch at all.

    of: the device that must be its author.
    """
    plain = inflate(payload)
    try:
        # What nearly always comes: a batch of this version in which nothing is wrong, read in one go.
        whole = _whole(plain)
        device, dropped = whole.device, whole.dropped_windows
        windows: Iterable[Window | str] = whole.windows
        fault = whole.format != FORMAT
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        fault = True
    if fault:
        batch = decode(plain, _Batch, limit=MAX_PLAIN_BYTES)
        if not 1 <= len(batch.windows) <= MAX_WINDOWS:
            raise BadDocument(f"a batch has {len(batch.windows)} windows; 1 to {MAX_WINDOWS} are allowed")
        device, dropped = batch.device, batch.dropped_windows
        windows = map(_window, batch.windows)
    if of is not None and device != of:
        raise BadDocument(f"a telemetry document of {device!r} on the topic of {of!r}")
    good: list[Window] = []
    refused: list[str] = []
    for number, window in enumerate(windows):
        reason = window if isinstance(window, str) else why_impossible(window)
        if reason is not None:
            refused.append(f"window {number}: {reason}")
        elif not isinstance(window, str):
            good.append(window)
    return Parsed(device, tuple(good), tuple(refused), dropped)


def _window(raw: msgspec.Raw) -> Window | str:
    """Return the window in `raw`, or why it is none."""
    try:
        return msgspec.json.decode(raw, type=Window)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return str(error)


def inflate(payload: bytes) -> bytes:
    """Return the plain bytes of a zlib stream, never more than MAX_PLAIN_BYTES of them."""
    if len(payload) > MAX_BATCH_BYTES:
        raise TooLarge("a telemetry message in bytes", len(payload), MAX_BATCH_BYTES)
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(payload, MAX_PLAIN_BYTES + 1)
    except zlib.error as error:
        raise BadDocument(f"a telemetry message is not zlib: {error}") from error
    if len(data) > MAX_PLAIN_BYTES:
        raise TooLarge("a telemetry message, decompressed, in bytes", len(data), MAX_PLAIN_BYTES)
    if not stream.eof:
        raise BadDocument("a telemetry message is cut short")
    return data


def why_impossible(window: Window) -> str | None:
    """Return what in `window` cannot be, in words, or None. Types and sizes were checked while it was decoded."""
    facts = window.device
    for value in _measured(facts):
        if value is not None and not -ABSURD < value < ABSURD:
            return "a measurement that is absurdly large"
    if facts.throttled_s or facts.network:
        for value in _rare(facts):
            if value is not None and not -ABSURD < value < ABSURD:
                return "a measurement that is absurdly large"
    if facts.battery_percent is not None and not 0 <= facts.battery_percent <= 100:
        return f"a battery at {facts.battery_percent} %"
    if "\0" in window.boot:
        return "a NUL character in its boot"
    seen: set[str] = set()
    for model in window.models:
        if "\0" in model.release:  # PostgreSQL keeps no such text, and nobody's release is called so
            return f"{model.model}: a NUL character in the name of its release"
        if model.model in seen:
            return f"{model.model} comes twice"
        seen.add(model.model)
        if model.errors > model.requests:
            return f"{model.model}: {model.errors} errors of {model.requests} requests"
        if model.latency.count > model.requests:
            return f"{model.model}: {model.latency.count} latencies of {model.requests} requests"
    return None


_measured = attrgetter(
    "cpu_percent", "temperature_c", "power_w", "battery_percent", "energy_j", "energy_s", "idle_w", "storage_wear_percent",
)  # fmt: skip
"""Every measurement that is no count, with those of `_rare`: counts are bounded by their type."""


def _rare(facts: DeviceWindow) -> Iterator[float | None]:
    yield from (facts.throttled_s or {}).values()
    yield from (row.signal_dbm for row in facts.network or ())


def place(window: Window, now: float) -> tuple[float, bool]:
    """Return where on the server's time line the window begins, and whether that is by when it came.

    It is as it says, unless its clock cannot be believed.
    """
    if window.clock_trusted and now - OLDEST_S <= window.start_s <= now + CLOCK_SLACK_S:
        return window.start_s, False
    return now - window.seconds, True
