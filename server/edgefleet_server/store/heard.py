"""That devices spoke: one statement for many, and in PostgreSQL without waiting for whoever holds a device's row."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from .dialect import insert
from .schema import devices

SPOKE = "UPDATE devices SET last_seen_s = ?, dropped_windows = ? WHERE id = ?"
SPOKE_POSTGRESQL = """
WITH said AS (SELECT * FROM unnest(%(ids)s::text[], %(dropped)s::bigint[]) AS s (id, dropped)),
free AS (SELECT d.id FROM devices d JOIN said ON said.id = d.id ORDER BY d.id FOR UPDATE OF d SKIP LOCKED)
UPDATE devices SET last_seen_s = greatest(devices.last_seen_s, %(now)s), dropped_windows = said.dropped
FROM said JOIN free ON free.id = said.id WHERE devices.id = said.id
"""
"""A row that somebody else holds belongs to a device whose state is being kept just now: that says that it spoke, too."""


def put(connection: Connection, dropped: Mapping[str, int], now: float) -> None:
    """Keep that these devices spoke just now, and how many windows each says that it lost."""
    if not dropped:
        return
    ids = sorted(dropped)
    if connection.dialect.name == "postgresql":
        values: Any = {"ids": ids, "dropped": [dropped[one] for one in ids], "now": now}
        connection.exec_driver_sql(SPOKE_POSTGRESQL, values)
        rows = connection.exec_driver_sql("SELECT id FROM devices WHERE id = ANY(%(ids)s)", values)
        missing = sorted(set(ids) - {row[0] for row in rows})
    else:
        done = connection.exec_driver_sql(
            SPOKE, [(now, dropped[one], one) for one in ids], execution_options={"preserve_rowcount": True}
        )
        missing = ids if done.rowcount < len(ids) else []
    if missing:
        rows_of_new = [
            {"id": one, "first_seen_s": now, "last_seen_s": now, "dropped_windows": dropped[one]} for one in missing
        ]
        connection.execute(insert(connection, devices).on_conflict_do_nothing(), rows_of_new)
