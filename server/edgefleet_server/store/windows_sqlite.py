"""Windows into SQLite: a few statements for a whole batch."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection

Key = tuple[str, str, float]
Row = tuple[Any, ...]

WINDOWS = "windows (device, boot, started_monotonic_s, placed_s, seconds, received_s, facts, requests, models)"
ROWS_AT_ONCE = 200
"""To a statement. One row each would be as fast by itself; but between any two of them the driver lets other threads run, and
with one that receives all the time it then waits for its turn again and again."""
ASKED_AT_ONCE = 300
"""Keys to a question; SQLite takes some thousand values."""


def add_windows(connection: Connection, rows: list[Row], arrived: list[bool]) -> list[bool]:
    """Keep windows with different keys; return of each whether it is new."""
    # Nearly always all are new, and then nobody needs to ask first.
    point = connection.begin_nested()
    if _insert(connection, WINDOWS, rows) == len(rows):
        point.commit()
        return [True] * len(rows)
    point.rollback()
    there = known(connection, [row[:3] for row in rows])
    new = [row[:3] not in there for row in rows]
    if fresh := [row for row, is_new in zip(rows, new, strict=True) if is_new]:
        _insert(connection, WINDOWS, fresh)
    return new


def known(connection: Connection, keys: Sequence[Key]) -> set[Key]:
    """Return those of `keys` that are kept."""
    found: set[Key] = set()
    for at in range(0, len(keys), ASKED_AT_ONCE):
        some = keys[at : at + ASKED_AT_ONCE]
        asked = (
            "SELECT device, boot, started_monotonic_s FROM windows WHERE (device, boot, started_monotonic_s) IN "
            f"(VALUES {', '.join(['(?, ?, ?)'] * len(some))})"
        )
        rows = connection.exec_driver_sql(asked, tuple(value for key in some for value in key))
        found |= {(row[0], row[1], row[2]) for row in rows}
    return found


def _insert(connection: Connection, into: str, rows: list[Row]) -> int:
    """Keep rows; return how many were not there yet."""
    kept = 0
    for at in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[at : at + ROWS_AT_ONCE]
        marks = f"({', '.join('?' * len(some[0]))})"
        statement = f"INSERT INTO {into} VALUES {', '.join([marks] * len(some))} ON CONFLICT DO NOTHING"
        values = tuple(chain.from_iterable(some))
        kept += connection.exec_driver_sql(statement, values, execution_options={"preserve_rowcount": True}).rowcount
    return kept
