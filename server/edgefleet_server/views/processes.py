"""The processes over one database, as they are shown: which there are, and which of them went silent."""

from typing import Any

from ..beating import SILENT_S, Heard
from ..store import processes
from ..store.database import Database, Unavailable


def every_process(database: Database, heard: Heard) -> list[dict[str, Any]]:
    """Return each process; none with SQLite, which has one only, and none while the database is away."""
    if not database.is_postgresql:
        return []
    try:
        with database.read() as connection:
            rows = processes.every(connection)
    except Unavailable:
        return []
    silent_s = heard.look(rows)
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "since_s": row.started_s,
            "seen_s": row.seen_s,
            "silent": silent_s[row.name] > SILENT_S,
            **{key: value for key, value in row.says.items() if key in ("address", "taken")},
        }
        for row in rows
    ]
