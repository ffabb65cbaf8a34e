"""The processes over one database: one row each, which it writes anew while it lives."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, delete, select

from .dialect import insert
from .schema import processes

Kind = Literal["server", "ingest", "api"]


@dataclass(frozen=True)
class Process:
    """A process as it last spoke. `says`: what it tells of itself, as a plain object."""

    name: str
    kind: str
    started_s: float
    seen_s: float
    says: Mapping[str, Any]


def put(connection: Connection, row: Process) -> None:
    """Keep what a process says now."""
    values = {"kind": row.kind, "started_s": row.started_s, "seen_s": row.seen_s, "says": json.dumps(row.says)}
    statement = insert(connection, processes).values(name=row.name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def every(connection: Connection) -> tuple[Process, ...]:
    """Return all that were heard of and did not take their leave, by name."""
    return tuple(
        Process(row.name, row.kind, row.started_s, row.seen_s, json.loads(row.says))
        for row in connection.execute(select(processes).order_by(processes.c.name))
    )


def drop(connection: Connection, name: str) -> None:
    """Forget one: it ends in good order."""
    connection.execute(delete(processes).where(processes.c.name == name))


def prune(connection: Connection, before_s: float) -> None:
    """Forget those that have been silent for longer: whoever was killed takes no leave."""
    connection.execute(delete(processes).where(processes.c.seen_s < before_s))
