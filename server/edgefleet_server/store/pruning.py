"""Removing what is older than it is kept, a little at a time: a long transaction would hold up what comes in.

In PostgreSQL days of windows go whole, when they are over, so up to a day more is kept.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from sqlalchemy import Table, delete, func, select, tuple_
from sqlalchemy.exc import OperationalError

from . import partitions, quarters
from .database import Database
from .schema import alerts, audit, events, metadata

LOG = logging.getLogger(__name__)

BATCH = 2_000
"""Rows to a transaction: some tens of milliseconds."""
BATCHES = 1_000
"""Of one table in one turn, each ten minutes: 3,000 rows a second, as many as come at the most. What is left waits for the next."""


@dataclass(frozen=True)
class Pruned:
    """How many rows went."""

    windows: int = 0
    events: int = 0
    alerts: int = 0
    audit: int = 0


def prune(
    database: Database,
    *,
    windows_before_s: float,
    events_before_s: float,
    quarters_before_s: float = -math.inf,
    alerts_before_s: float = -math.inf,
    audit_before_s: float = -math.inf,
    go_on: Callable[[], bool] = lambda: True,
) -> Pruned:
    """Remove windows placed before `windows_before_s`, once they are in their quarters, and events that came before `events_before_s`.

    quarters_before_s: quarters that began before it go; alerts_before_s: those that were resolved before it; audit_before_s: deeds
    before it. go_on: asked now and then; what is left waits for the next time.
    """
    if database.is_postgresql:
        gone = _drop_days(database, windows_before_s, go_on)
    else:
        gone = quarters.fold(database, windows_before_s, go_on=go_on)
    if not go_on():
        return Pruned(gone)
    quarters.prune(database, quarters_before_s)
    return Pruned(
        windows=gone,
        events=_prune(database, events, "received_s", events_before_s),
        alerts=_prune_alerts(database, alerts_before_s),
        audit=_prune_audit(database, audit_before_s),
    )


def _drop_days(database: Database, before_s: float, go_on: Callable[[], bool]) -> int:
    """Drop what is over, and make the partitions that the next days need."""
    now = time.time()
    with database.append() as connection:
        partitions.make_ahead(connection, now, max(0.0, (now - before_s) / partitions.DAY_S))
        connection.exec_driver_sql(
            "DELETE FROM windows_placed_by_arrival WHERE placed_s < %(before)s", {"before": before_s}
        )
        days = partitions.over(connection, before_s)
    # A day's windows are in their quarters before it goes.
    gone = quarters.fold(database, (days[-1] + 1) * partitions.DAY_S, go_on=go_on) if days else 0
    for day in days if go_on() else ():
        try:
            with database.append() as connection:
                partitions.drop(connection, day)
        except OperationalError as error:  # somebody reads it now
            LOG.info("the windows of day %s are dropped later: %s", partitions.name("windows", day), error.orig)
    return gone


def _prune(database: Database, table: Table, column: str, before_s: float) -> int:
    gone = 0
    key = list(metadata.tables[table.name].primary_key.columns)
    found = select(*key).where(table.c[column] < before_s).limit(BATCH)
    statement = delete(table).where(tuple_(*key).in_(found))
    for _ in range(BATCHES):
        with database.write() as connection:
            count = connection.execute(statement).rowcount
        gone += count
        if count < BATCH:
            break
    return gone


def _prune_alerts(database: Database, before_s: float) -> int:
    """Remove alerts that were resolved before then. The newest stays, so that its number is never given to another."""
    columns = alerts.c
    newest = select(func.max(columns.id)).scalar_subquery()
    old = (columns.status == "resolved") & (columns.resolved_s < before_s) & (columns.id < newest)
    with database.read() as connection:
        if connection.execute(select(columns.id).where(old).limit(1)).first() is None:
            return 0  # most often: the one writer is not asked
    with database.write() as connection:
        return connection.execute(delete(alerts).where(old)).rowcount


def _prune_audit(database: Database, before_s: float) -> int:
    """Remove deeds from before then, in the order in which they were written, in which nothing has to be searched. The newest stays."""
    columns, gone = audit.c, 0
    for _ in range(BATCHES):
        with database.read() as connection:
            oldest = connection.execute(select(columns.id, columns.at_s).order_by(columns.id).limit(BATCH + 1)).all()
        old = list(takewhile(lambda row: row.at_s < before_s, oldest[:-1]))
        if old:
            with database.write() as connection:
                connection.execute(delete(audit).where(columns.id <= old[-1].id))
        gone += len(old)
        if len(old) < BATCH:
            break
    return gone
