"""Telemetry windows, each once: (device, boot, started_monotonic_s) names a window, whatever is sent again."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, select

from edgefleet_protocol.sketch import Sketch
from edgefleet_protocol.telemetry import DeviceWindow, Window

from . import windows as windows_store
from .schema import model_windows, windows
from .windows import Placed


@dataclass(frozen=True)
class ModelRow:
    """One model in one window."""

    model: str
    placed_s: float
    release: str
    variant: str
    requests: int
    errors: int
    latency: Sketch
    p50_s: float | None
    p95_s: float | None
    memory_bytes: int | None


@dataclass(frozen=True)
class DeviceRow:
    """The device itself at the end of a window."""

    placed_s: float
    facts: DeviceWindow


def add(connection: Connection, device: str, window: Window, placed_s: float, now: float) -> bool:
    """Keep one window; return False when it was there already."""
    return bool(windows_store.add(connection, [Placed(device, window, placed_s)], now))


def models(
    connection: Connection, device: str, *, since_s: float, model: str | None = None, limit: int = 5000
) -> tuple[ModelRow, ...]:
    """Return a device's windows from `since_s` on, oldest first; of more than `limit` the newest."""
    table = model_windows.c
    query = select(model_windows).where(table.device == device, table.placed_s >= since_s)
    if model is not None:
        query = query.where(table.model == model)
    rows = connection.execute(query.order_by(table.placed_s.desc()).limit(limit)).all()
    return tuple(_model(row) for row in reversed(rows))


def latest_models(connection: Connection, devices: Iterable[str]) -> dict[tuple[str, str], ModelRow]:
    """Return by (device, model) the newest window that counted a request."""
    found: dict[tuple[str, str], ModelRow] = {}
    table = model_windows.c
    for device in devices:
        query = select(model_windows).where(table.device == device, table.requests > 0)
        for row in connection.execute(query.order_by(table.placed_s.desc()).limit(16)):
            found.setdefault((device, row.model), _model(row))
    return found


def latest_device(connection: Connection, device: str) -> DeviceRow | None:
    """Return the newest window of the device itself, or None before the first."""
    query = select(windows).where(windows.c.device == device).order_by(windows.c.placed_s.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else DeviceRow(row.placed_s, msgspec.json.decode(row.facts, type=DeviceWindow))


def count_of(connection: Connection, device: str, from_s: float, to_s: float) -> int:
    """Return how many windows of a device are kept from a span of time."""
    table = windows.c
    query = select(func.count()).where(table.device == device, table.placed_s >= from_s, table.placed_s < to_s)
    return int(connection.execute(query).scalar_one())


def count(connection: Connection) -> int:
    """Return how many windows are kept."""
    return int(connection.execute(select(func.count()).select_from(windows)).scalar_one())


_SKETCH = msgspec.json.Decoder(Sketch)


def _model(row: Row[Any]) -> ModelRow:
    return ModelRow(
        model=row.model,
        placed_s=row.placed_s,
        release=row.release,
        variant=row.variant,
        requests=row.requests,
        errors=row.errors,
        latency=_SKETCH.decode(row.latency),
        p50_s=row.p50_s,
        p95_s=row.p95_s,
        memory_bytes=row.memory_bytes,
    )
