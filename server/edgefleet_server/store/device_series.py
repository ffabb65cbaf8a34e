"""The windows of one device, as its page reads them: what it measured of itself, and the releases that came and went."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, select

from edgefleet_protocol.telemetry import DeviceWindow

from .schema import events, model_windows, windows


class Facts(NamedTuple):
    """The device at the end of one window."""

    placed_s: float
    seconds: float
    facts: DeviceWindow


class Counts(msgspec.Struct, frozen=True):
    """A stored histogram as it was written: it was checked when it came."""

    offset: int = 0
    counts: tuple[int, ...] = ()
    zero: int = 0


class Ran(NamedTuple):
    """One model in one window."""

    model: str
    placed_s: float
    release: str
    variant: str
    requests: int
    errors: int
    memory_bytes: int | None
    latency: Counts


_COUNTS = msgspec.json.Decoder(Counts)


def models(connection: Connection, device: str, *, since_s: float, limit: int = 5000) -> Sequence[Ran]:
    """Return what a device ran from `since_s` on, oldest first; of more than `limit` the newest."""
    table = model_windows.c
    columns = (
        table.model, table.placed_s, table.release, table.variant, table.requests, table.errors, table.memory_bytes,
        table.latency,
    )  # fmt: skip
    query = select(*columns).where(table.device == device, table.placed_s >= since_s)
    rows = connection.execute(query.order_by(table.placed_s.desc()).limit(limit)).all()
    return [Ran._make((*row[:7], _COUNTS.decode(row[7]))) for row in reversed(rows)]


_FACTS = msgspec.json.Decoder(DeviceWindow)


def facts(connection: Connection, device: str, *, since_s: float, limit: int = 5000) -> Sequence[Facts]:
    """Return a device's windows from `since_s` on, oldest first; of more than `limit` the newest."""
    table = windows.c
    query = select(table.placed_s, table.seconds, table.facts).where(table.device == device, table.placed_s >= since_s)
    rows = connection.execute(query.order_by(table.placed_s.desc()).limit(limit)).all()
    return [Facts(row[0], row[1], _FACTS.decode(row[2])) for row in reversed(rows)]


def marks(connection: Connection, device: str, *, since_s: float, limit: int = 200) -> Sequence[Any]:
    """Return what happened to releases on a device from `since_s` on, oldest first; of more than `limit` the newest.

    Rows of at_s, kind, text, model, release, variant.
    """
    table = events.c
    columns = (table.at_s, table.kind, table.text, table.model, table.release, table.variant)
    query = select(*columns).where(table.device == device, table.at_s >= since_s, table.release.is_not(None))
    return connection.execute(query.order_by(table.at_s.desc()).limit(limit)).all()[::-1]
