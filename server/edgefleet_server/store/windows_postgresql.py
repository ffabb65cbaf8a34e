"""Windows into PostgreSQL: binary COPY into a staging table, and from there those that are new into the partitions of their days.

COPY knows no "unless it is there already". What a window's own clock places lies at one place whenever it is sent, so the key of
its partition keeps it once. What is placed by its arrival would lie elsewhere the next time: a table of such windows' names, small
because there are few, keeps them once.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DatabaseError, OperationalError

from . import partitions
from .outage import passes

Key = tuple[str, str, float]
Row = tuple[Any, ...]

STAGE = """
CREATE TEMP TABLE IF NOT EXISTS incoming_windows (
    n integer, device text, boot text, started_monotonic_s double precision, placed_s double precision,
    seconds double precision, received_s double precision, facts bytea, requests bigint,
    models bytea, by_arrival boolean
) ON COMMIT DELETE ROWS
"""
STAGED = "COPY incoming_windows FROM STDIN (FORMAT BINARY)"
ARRIVED = """
WITH fresh AS (
    INSERT INTO windows_placed_by_arrival (device, boot, started_monotonic_s, placed_s)
    SELECT device, boot, started_monotonic_s, placed_s FROM incoming_windows i
    WHERE by_arrival AND NOT EXISTS (
        SELECT FROM windows w
        WHERE (w.device, w.boot, w.started_monotonic_s) = (i.device, i.boot, i.started_monotonic_s)
    )
    ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING RETURNING device, boot, started_monotonic_s
)
DELETE FROM incoming_windows i WHERE by_arrival AND NOT EXISTS (
    SELECT FROM fresh f WHERE (f.device, f.boot, f.started_monotonic_s) = (i.device, i.boot, i.started_monotonic_s)
)
"""
MOVED = """
WITH fresh AS (
    INSERT INTO windows (device, boot, started_monotonic_s, placed_s, seconds, received_s, facts, requests, models)
    SELECT device, boot, started_monotonic_s, placed_s, seconds, received_s, facts, requests, models FROM incoming_windows i
    WHERE by_arrival OR NOT EXISTS (
        SELECT FROM windows_placed_by_arrival a
        WHERE (a.device, a.boot, a.started_monotonic_s) = (i.device, i.boot, i.started_monotonic_s)
    )
    ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING RETURNING device, boot, started_monotonic_s
)
SELECT n FROM incoming_windows JOIN fresh USING (device, boot, started_monotonic_s)
"""


def add_windows(connection: Connection, rows: list[Row], arrived: list[bool]) -> list[bool]:
    """Keep windows with different keys; return of each whether it is new. arrived: of each whether it is placed by its arrival."""
    try:
        return _add(connection, rows, arrived)
    except DatabaseError:
        partitions.forget(connection)  # what is known of them may be what was wrong
        raise


def _add(connection: Connection, rows: list[Row], arrived: list[bool]) -> list[bool]:
    partitions.make(connection, {partitions.day_of(row[3]) for row in rows})
    connection.exec_driver_sql(STAGE)
    staged = ((n, *row, flag) for n, (row, flag) in enumerate(zip(rows, arrived, strict=True)))
    _copy(connection, STAGED, _binary("ittddddyqy?", staged))
    if any(arrived):
        connection.exec_driver_sql(ARRIVED)
    new = [False] * len(rows)
    for (n,) in connection.exec_driver_sql(MOVED):
        new[n] = True
    return new


def known(connection: Connection, keys: Sequence[Key]) -> set[Key]:
    """Return those of `keys` that are kept."""
    devices, boots, starts = zip(*keys, strict=True) if keys else ((), (), ())
    rows = connection.exec_driver_sql(
        "SELECT device, boot, started_monotonic_s FROM windows JOIN "
        "unnest(%(devices)s::text[], %(boots)s::text[], %(starts)s::float8[]) AS k (device, boot, started_monotonic_s) "
        "USING (device, boot, started_monotonic_s)",
        {"devices": list(devices), "boots": list(boots), "starts": list(starts)},
    )
    return {(row[0], row[1], row[2]) for row in rows}


def forget(connection: Connection, device: str) -> None:
    """Remove the names of a device's windows that were placed by their arrival."""
    connection.exec_driver_sql("DELETE FROM windows_placed_by_arrival WHERE device = %(device)s", {"device": device})


_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TAIL = struct.pack("!h", -1)
_NULL = struct.pack("!i", -1)
_FIXED = {"i": struct.Struct("!ii"), "q": struct.Struct("!iq"), "d": struct.Struct("!id"), "?": struct.Struct("!i?")}
_BYTES = {"i": 4, "q": 8, "d": 8, "?": 1}
_length = struct.Struct("!i").pack


def _binary(kinds: str, rows: Iterable[Row]) -> bytes:
    """Return rows in PostgreSQL's binary form. kinds: i, q integers of 4 and 8 bytes; d double; ? boolean; t text; y bytes."""
    parts = [_HEAD]
    add = parts.append
    fields = struct.pack("!h", len(kinds))
    packs = [(kind, _FIXED[kind].pack if kind in _FIXED else None, _BYTES.get(kind, 0)) for kind in kinds]
    for row in rows:
        add(fields)
        for value, (kind, pack, size) in zip(row, packs, strict=True):
            if value is None:
                add(_NULL)
            elif pack is not None:
                add(pack(size, value))
            else:
                data = value.encode() if kind == "t" else value
                add(_length(len(data)))
                add(data)
    add(_TAIL)
    return b"".join(parts)


def _copy(connection: Connection, statement: str, data: bytes) -> None:
    """COPY is the driver's own; its errors become those that everybody here knows."""
    driver: Any = connection.connection.driver_connection
    errors: Any = connection.dialect.loaded_dbapi
    try:
        with driver.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(data)
    except (errors.OperationalError, errors.InterfaceError) as error:
        raise OperationalError(statement, None, error) from error
    except errors.Error as error:
        kind = OperationalError if passes(error) else DatabaseError
        raise kind(statement, None, error) from error
