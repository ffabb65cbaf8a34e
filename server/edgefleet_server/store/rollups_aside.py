"""What of roll-ups cannot be read: put aside as it was found, so that what comes after it is folded, and tried again at each start."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, func, insert, select

from .database import make_engine
from .schema import rollup_parts, rollups_aside

BATCH, ROW = "batch", "row"
"""Of windows that waited to be folded; of roll-ups that were there."""
MOST_TEXT = 500


class Aside(NamedTuple):
    """What lies apart."""

    batches: int
    rows: int
    why: str
    """Of the last that was put there; empty for none."""


def put_batch(connection: Connection, number: int, why: str) -> bool:
    """Put a batch aside that waits under `number`; return False when it does not wait any more."""
    columns = rollup_parts.c
    row = connection.execute(select(columns.received_s, columns.parts).where(columns.id == number)).first()
    gone = connection.execute(delete(rollup_parts).where(columns.id == number)).rowcount
    if row is None or not gone:
        return False
    _put(connection, row.received_s, BATCH, why, row.parts)
    return True


def put_row(connection: Connection, row: Any, why: str) -> None:
    """Keep a row of roll-ups that cannot be read, before what is new takes its place."""
    _put(connection, time.time(), ROW, why, msgspec.msgpack.encode(dict(row._mapping)))


def count(connection: Connection) -> int:
    """Return how many things lie apart."""
    return int(connection.execute(select(func.count()).select_from(rollups_aside)).scalar_one())


def look_at(place: Path | str) -> Aside:
    """Return what lies apart in a database of this version's form, from beside whoever has it."""
    engine = make_engine(place)
    columns = rollups_aside.c
    try:
        with engine.connect() as connection:
            kinds = select(columns.kind, func.count()).group_by(columns.kind)
            counts = {kind: int(n) for kind, n in connection.execute(kinds)}
            why = connection.execute(select(columns.why).order_by(columns.id.desc()).limit(1)).scalar()
            return Aside(counts.get(BATCH, 0), counts.get(ROW, 0), why or "")
    finally:
        engine.dispose()


def bring_back(connection: Connection) -> int:
    """Let every batch that lies apart wait again, for this version may understand it; return how many they were."""
    columns = rollups_aside.c
    rows = connection.execute(
        select(columns.at_s, columns.data).where(columns.kind == BATCH).order_by(columns.id)
    ).all()
    for row in rows:
        connection.execute(insert(rollup_parts).values(received_s=row.at_s, parts=row.data))
    connection.execute(delete(rollups_aside).where(columns.kind == BATCH))
    return len(rows)


def prune(connection: Connection, before_s: float) -> int:
    """Remove what came before a moment; return how much that was."""
    return connection.execute(delete(rollups_aside).where(rollups_aside.c.at_s < before_s)).rowcount


def _put(connection: Connection, at_s: float, kind: str, why: str, data: bytes) -> None:
    words = why.replace("\0", "")[:MOST_TEXT]
    connection.execute(insert(rollups_aside).values(at_s=at_s, kind=kind, why=words, data=data))
