"""PostgreSQL's table of windows lies in a partition for each day (UTC): made ahead, and dropped whole when its day is over."""

import math
from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import Connection

TABLES = ("windows",)
DAY_S = 86400
LOCK = 0xED6E0004
AHEAD_DAYS = 2
"""A server that is away over midnight finds its partitions when it is back."""


def day_of(placed_s: float) -> int:
    """Return the day, counted from 1970, in which a moment lies."""
    return math.floor(placed_s / DAY_S)


def name(table: str, day: int) -> str:
    """Return what the partition of a day is called."""
    return f"{table}_{datetime.fromtimestamp(day * DAY_S, UTC):%Y%m%d}"


def make(connection: Connection, days: Collection[int]) -> None:
    """Make the partitions of `days` that are not there."""
    seen: set[int] = connection.info.setdefault("edgefleet_days", set())
    if not (missing := _missing(connection, set(days) - seen)):
        seen |= set(days)
        return
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")  # of two processes at midnight one makes it
    for day in sorted(_missing(connection, missing)):
        for table in TABLES:
            # Made apart and attached: CREATE … PARTITION OF would wait for every reader, and every reader for it.
            part = name(table, day)
            connection.exec_driver_sql(f"CREATE TABLE {part} (LIKE {table} INCLUDING DEFAULTS)")
            connection.exec_driver_sql(
                f"ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES FROM ({day * DAY_S}) TO ({(day + 1) * DAY_S})"
            )


def forget(connection: Connection) -> None:
    """Look anew at the next batch."""
    if not connection.invalidated:
        connection.info.pop("edgefleet_days", None)


def make_ahead(connection: Connection, now: float, kept_days: float) -> None:
    """Make every partition that telemetry of now, late or early, may need."""
    make(connection, range(day_of(now - kept_days * DAY_S), day_of(now) + AHEAD_DAYS + 1))


def over(connection: Connection, before_s: float) -> list[int]:
    """Return the days that were over before `before_s`, oldest first."""
    rows = connection.exec_driver_sql(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'windows'::regclass"
    )
    days = {int(datetime.strptime(row[0][-8:], "%Y%m%d").replace(tzinfo=UTC).timestamp()) // DAY_S for row in rows}
    return sorted(day for day in days if (day + 1) * DAY_S <= before_s)


def drop(connection: Connection, day: int) -> int:
    """Drop a day whole; return about how many windows it had. Gives up soon where somebody reads: then it is dropped later."""
    connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
    about = connection.exec_driver_sql(
        f"SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass('{name('windows', day)}')"
    ).scalar()
    for table in TABLES:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {name(table, day)}")
    return int(about or 0)


def _missing(connection: Connection, days: Collection[int]) -> set[int]:
    if not days:
        return set()
    names = {name("windows", day): day for day in days}
    # Asked of the table of tables and not by name: names that were missing a moment ago may be remembered as missing.
    rows = connection.exec_driver_sql(
        "SELECT relname FROM pg_class WHERE relname = ANY(%(names)s) AND pg_table_is_visible(oid)",
        {"names": list(names)},
    )
    return set(days) - {names[row[0]] for row in rows}
