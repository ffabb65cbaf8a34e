"""A window as it is stored: what the board was like, and what each model counted, as few bytes by place and not by name.

The very same bytes wait to be rolled up, so they are made once. What is in them was checked when it came. By place: new fields come
last, in the order of DeviceWindow, and what was stored before has them as None.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec

from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow

from .packed import EMPTY, pack_counts


class StoredFacts(DeviceWindow, frozen=True, kw_only=True, array_like=True):
    """A DeviceWindow, by place."""


class Counts(msgspec.Struct, array_like=True, frozen=True):
    """What one model counted in one window."""

    model: str
    release: str
    variant: str
    requests: int
    errors: int
    memory_bytes: int | None
    latency: bytes = EMPTY
    """A packed sketch, as the next."""
    confidence: bytes | None = None


def facts_stored(facts: DeviceWindow) -> bytes:
    """Return what a board was like as bytes."""
    return _encode(_values(facts))


def facts_told(data: bytes) -> DeviceWindow:
    """Return what a board was like; also of bytes from before form 0012, which are JSON."""
    return _json(data) if data[:1] == b"{" else _facts(data)


def models_stored(models: Sequence[ModelWindow]) -> bytes:
    """Return what models counted as bytes."""
    return _encode([_counts(model) for model in models])


def stored(counts: Sequence[Counts]) -> bytes:
    """Return counts as bytes again."""
    return _encode(counts)


def models_told(data: bytes) -> list[Counts]:
    """Return what models counted."""
    return _models(data)


def _counts(model: ModelWindow) -> tuple[Any, ...]:
    latency, confidence = model.latency, model.confidence
    return (
        model.model,
        model.release,
        model.variant,
        model.requests,
        model.errors,
        model.memory_bytes,
        pack_counts(latency.offset, latency.counts, latency.zero),
        None if confidence is None else pack_counts(confidence.offset, confidence.counts, confidence.zero),
    )


_values = attrgetter(*DeviceWindow.__struct_fields__)
_encode = msgspec.msgpack.Encoder().encode
_facts = msgspec.msgpack.Decoder(StoredFacts).decode
_json = msgspec.json.Decoder(DeviceWindow).decode
_models = msgspec.msgpack.Decoder(list[Counts]).decode
