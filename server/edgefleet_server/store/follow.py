"""What devices measured of themselves, in the order in which it came, from a place on: each row is read once, however many are kept.

The place is SQLite's row number, in PostgreSQL a number of our own. SQLite's only grows while the newest row is there; after a
device was forgotten it may fall back. PostgreSQL's may be given before the row can be seen, where several processes write. Then
some rows are left out, which costs a count and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from edgefleet_protocol.telemetry import DeviceWindow

from ..telemetry.stored import facts_told

BATCH = 5_000


@dataclass(frozen=True)
class DeviceSpan:
    """The device at the end of one window."""

    number: int
    device: str
    placed_s: float
    facts: DeviceWindow


def newest(connection: Connection) -> int:
    """Return the place after everything that is kept."""
    if _is_postgresql(connection):
        return _one(connection, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM windows_number")
    return _one(connection, "SELECT max(rowid) FROM windows")


def since(connection: Connection, placed_s: float) -> int:
    """Return the place before everything that was placed after `placed_s`."""
    query = f"SELECT min({_number(connection)}) FROM windows WHERE placed_s >= :from_s"
    first = _one(connection, query, from_s=placed_s)
    return first - 1 if first else newest(connection)


def windows(connection: Connection, after: int) -> Sequence[DeviceSpan]:
    """Return the next rows, at most BATCH."""
    number = _number(connection)
    query = (
        f"SELECT {number}, device, placed_s, facts FROM windows WHERE {number} > :after ORDER BY {number} LIMIT {BATCH}"
    )
    rows = connection.execute(text(query), {"after": after})
    return [DeviceSpan(row[0], row[1], row[2], facts_told(row[3])) for row in rows]


def _number(connection: Connection) -> str:
    return "number" if _is_postgresql(connection) else "rowid"


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _one(connection: Connection, query: str, **values: Any) -> int:
    return int(connection.execute(text(query), values).scalar() or 0)
