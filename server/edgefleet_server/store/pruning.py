"""Removing what is older than it is kept, a little at a time: a long transaction would hold up what comes in."""

from dataclasses import dataclass

from .database import Connection, Database

BATCH = 2_000
"""Rows to a transaction: some tens of milliseconds."""
BATCHES = 50
"""Of one table in one turn; what is left then waits for the next."""


@dataclass(frozen=True)
class Pruned:
    """How many rows went."""

    windows: int
    events: int


def prune(database: Database, *, windows_before_s: float, events_before_s: float) -> Pruned:
    """Remove telemetry placed before `windows_before_s` and events that came before `events_before_s`."""
    _prune(database, "model_windows", "placed_s", windows_before_s)
    windows = _prune(database, "windows", "placed_s", windows_before_s)
    return Pruned(windows, _prune(database, "events", "received_s", events_before_s))


def _prune(database: Database, table: str, column: str, before_s: float) -> int:
    gone = 0
    for _ in range(BATCHES):
        with database.write() as connection:
            count = _delete(connection, table, column, before_s)
        gone += count
        if count < BATCH:
            break
    return gone


def _delete(connection: Connection, table: str, column: str, before_s: float) -> int:
    found = f"SELECT rowid FROM {table} WHERE {column} < ? LIMIT {BATCH}"
    return int(connection.exec_driver_sql(f"DELETE FROM {table} WHERE rowid IN ({found})", (before_s,)).rowcount)
