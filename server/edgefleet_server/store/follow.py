"""Telemetry in the order in which it came, from a place on: each row is read once, however many are kept.

The place is SQLite's row number, in PostgreSQL a number of our own. SQLite's only grows while the newest row is there; after a
device was forgotten it may fall back. PostgreSQL's may be given before the row can be seen, where several processes write. Then
some rows are left out, which costs a count and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from edgefleet_protocol.sketch import Sketch
from edgefleet_protocol.telemetry import DeviceWindow

BATCH = 5_000


@dataclass(frozen=True)
class Place:
    """The last row that was read of either table."""

    models: int = 0
    windows: int = 0


@dataclass(frozen=True)
class ModelSpan:
    """One model in one window of one device."""

    number: int
    region: str
    model: str
    release: str
    variant: str
    placed_s: float
    requests: int
    errors: int
    latency: Sketch


@dataclass(frozen=True)
class DeviceSpan:
    """The device at the end of one window."""

    number: int
    device: str
    placed_s: float
    facts: DeviceWindow


def newest(connection: Connection) -> Place:
    """Return the place after everything that is kept."""
    if _is_postgresql(connection):
        given = [
            f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {table}_number"
            for table in ("model_windows", "windows")
        ]
    else:
        given = [f"SELECT max(rowid) FROM {table}" for table in ("model_windows", "windows")]
    return Place(*(_one(connection, query) for query in given))


def since(connection: Connection, placed_s: float) -> Place:
    """Return the place before everything that was placed after `placed_s`."""
    found = [
        _one(connection, f"SELECT min({_number(connection)}) FROM {table} WHERE placed_s >= :from_s", from_s=placed_s)
        for table in ("model_windows", "windows")
    ]
    last = newest(connection)
    return Place(found[0] - 1 if found[0] else last.models, found[1] - 1 if found[1] else last.windows)


def models(connection: Connection, after: int) -> Sequence[ModelSpan]:
    """Return the next rows, at most BATCH."""
    number = _number(connection)
    query = (
        f"SELECT w.{number}, CASE WHEN d.assigned_number > 0 THEN d.assigned_region ELSE d.region END, w.model, w.release, "
        "w.variant, w.placed_s, w.requests, w.errors, w.latency FROM model_windows w JOIN devices d ON d.id = w.device "
        f"WHERE w.{number} > :after ORDER BY w.{number} LIMIT {BATCH}"
    )
    rows = connection.execute(text(query), {"after": after})
    return [
        ModelSpan(
            number=row[0],
            region=row[1] or "",
            model=row[2],
            release=row[3],
            variant=row[4],
            placed_s=row[5],
            requests=row[6],
            errors=row[7],
            latency=msgspec.json.decode(row[8], type=Sketch),
        )
        for row in rows
    ]


def windows(connection: Connection, after: int) -> Sequence[DeviceSpan]:
    """Return the next rows, at most BATCH."""
    number = _number(connection)
    query = (
        f"SELECT {number}, device, placed_s, facts FROM windows WHERE {number} > :after ORDER BY {number} LIMIT {BATCH}"
    )
    rows = connection.execute(text(query), {"after": after})
    return [DeviceSpan(row[0], row[1], row[2], msgspec.json.decode(row[3], type=DeviceWindow)) for row in rows]


def _number(connection: Connection) -> str:
    return "number" if _is_postgresql(connection) else "rowid"


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _one(connection: Connection, query: str, **values: Any) -> int:
    return int(connection.execute(text(query), values).scalar() or 0)
