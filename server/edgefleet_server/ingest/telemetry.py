"""Telemetry: bounded decompression, then each window by itself, so that a bad one costs only itself."""

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from edgefleet_protocol.codec import Document, decode
from edgefleet_protocol.errors import BadDocument, TooLarge
from edgefleet_protocol.names import DeviceId
from edgefleet_protocol.telemetry import MAX_BATCH_BYTES, MAX_WINDOWS, Count, Window

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


class New(NamedTuple):
    """A window that is stored now, and lies at `placed_s`."""

    device: str
    window: Window
    placed_s: float


@dataclass(frozen=True)
class Parsed:
    """The good windows of a batch, and why the others were refused."""

    device: str
    windows: tuple[Window, ...]
    refused: tuple[str, ...]
    dropped_windows: int


def parse(payload: bytes) -> Parsed:
    """Return what `payload` holds; raise BadDocument or TooLarge when it is no batch at all."""
    batch = decode(inflate(payload), _Batch, limit=MAX_PLAIN_BYTES)
    if not 1 <= len(batch.windows) <= MAX_WINDOWS:
        raise BadDocument(f"a batch has {len(batch.windows)} windows; 1 to {MAX_WINDOWS} are allowed")
    good: list[Window] = []
    refused: list[str] = []
    for number, raw in enumerate(batch.windows):
        try:
            window = msgspec.json.decode(raw, type=Window)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            refused.append(f"window {number}: {error}")
            continue
        reason = why_impossible(window)
        if reason is None:
            good.append(window)
        else:
            refused.append(f"window {number}: {reason}")
    return Parsed(batch.device, tuple(good), tuple(refused), batch.dropped_windows)


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
    measured = (facts.cpu_percent, facts.temperature_c, facts.power_w, facts.battery_percent)
    if not all(value is None or abs(value) < ABSURD for value in measured):
        return "a measurement that is absurdly large"
    if facts.battery_percent is not None and not 0 <= facts.battery_percent <= 100:
        return f"a battery at {facts.battery_percent} %"
    seen: set[str] = set()
    for model in window.models:
        if model.model in seen:
            return f"{model.model} comes twice"
        seen.add(model.model)
        if model.errors > model.requests:
            return f"{model.model}: {model.errors} errors of {model.requests} requests"
        if model.latency.count > model.requests:
            return f"{model.model}: {model.latency.count} latencies of {model.requests} requests"
    return None


def place(window: Window, now: float) -> float:
    """Return where on the server's time line the window begins: as it says, unless its clock cannot be believed."""
    believable = now - OLDEST_S <= window.start_s <= now + CLOCK_SLACK_S
    return window.start_s if window.clock_trusted and believable else now - window.seconds
