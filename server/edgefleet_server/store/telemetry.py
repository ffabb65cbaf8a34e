"""Telemetry windows, each once: (device, boot, started_monotonic_s) names a window, whatever is sent again."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from edgefleet_protocol.sketch import Sketch
from edgefleet_protocol.telemetry import DeviceWindow, Window

from ..telemetry.packed import unpack
from ..telemetry.stored import Counts, facts_told, models_told
from . import windows as windows_store
from .schema import windows
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
    columns = windows.c
    query = select(columns.placed_s, columns.models).where(columns.device == device, columns.placed_s >= since_s)
    rows = connection.execute(query.order_by(columns.placed_s.desc()).limit(limit)).all()
    every = (_model(row.placed_s, counts) for row in reversed(rows) for counts in models_told(row.models))
    return tuple(row for row in every if model in (None, row.model))


def latest_models(connection: Connection, devices: Iterable[str]) -> dict[tuple[str, str], ModelRow]:
    """Return by (device, model) the newest window that counted a request."""
    found: dict[tuple[str, str], ModelRow] = {}
    columns = windows.c
    for device in devices:
        query = select(columns.placed_s, columns.models).where(columns.device == device, columns.requests > 0)
        for row in connection.execute(query.order_by(columns.placed_s.desc()).limit(16)):
            for counts in models_told(row.models):
                if counts.requests and (device, counts.model) not in found:
                    found[device, counts.model] = _model(row.placed_s, counts)
    return found


def latest_device(connection: Connection, device: str) -> DeviceRow | None:
    """Return the newest window of the device itself, or None before the first."""
    query = select(windows).where(windows.c.device == device).order_by(windows.c.placed_s.desc()).limit(1)
    row = connection.execute(query).first()
    return None if row is None else DeviceRow(row.placed_s, facts_told(row.facts))


def count_of(connection: Connection, device: str, from_s: float, to_s: float) -> int:
    """Return how many windows of a device are kept from a span of time."""
    table = windows.c
    query = select(func.count()).where(table.device == device, table.placed_s >= from_s, table.placed_s < to_s)
    return int(connection.execute(query).scalar_one())


def count(connection: Connection) -> int:
    """Return how many windows are kept."""
    return int(connection.execute(select(func.count()).select_from(windows)).scalar_one())


def _model(placed_s: float, counts: Counts) -> ModelRow:
    return ModelRow(
        model=counts.model,
        placed_s=placed_s,
        release=counts.release,
        variant=counts.variant,
        requests=counts.requests,
        errors=counts.errors,
        latency=unpack(counts.latency),
        memory_bytes=counts.memory_bytes,
    )
