"""Windows into SQLite: a few statements for a whole batch."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

Key = tuple[str, str, float]
Row = tuple[Any, ...]

WINDOWS = (
    "INSERT INTO windows (device, boot, started_monotonic_s, placed_s, seconds, received_s, facts) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
MODELS = (
    "INSERT INTO model_windows (device, boot, started_monotonic_s, model, placed_s, release, variant, requests, errors, "
    "latency, p50_s, p95_s, memory_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
ASKED_AT_ONCE = 300
"""Keys to a question; SQLite takes some thousand values."""


def add_windows(connection: Connection, rows: list[Row], arrived: list[bool]) -> list[bool]:
    """Keep windows with different keys; return of each whether it is new."""
    # Nearly always all are new, and then nobody needs to ask first.
    point = connection.begin_nested()
    done = connection.exec_driver_sql(WINDOWS, rows, execution_options={"preserve_rowcount": True})
    if done.rowcount == len(rows):
        point.commit()
        return [True] * len(rows)
    point.rollback()
    there = known(connection, [row[:3] for row in rows])
    new = [row[:3] not in there for row in rows]
    if fresh := [row for row, is_new in zip(rows, new, strict=True) if is_new]:
        connection.exec_driver_sql(WINDOWS, fresh)
    return new


def add_models(connection: Connection, rows: list[Row]) -> None:
    """Keep what new windows say of models."""
    if rows:
        connection.exec_driver_sql(MODELS, rows)


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
