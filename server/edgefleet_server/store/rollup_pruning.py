"""Removing telemetry by resolution and region, a little at a time."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Table, case, delete, or_, select, tuple_

from ..keeping import Bounds
from . import quarters
from .database import Database
from .rollup_reads import regions_of
from .schema import device_rollups, devices, model_rollups, windows

BATCH = 2_000
"""Rows to a transaction: some tens of milliseconds."""
BATCHES = 200
"""In one turn; what is left then waits for the next."""
GRAINS = range(5)


def prune_rollups(
    database: Database, resolution: int, bounds: Bounds, *, go_on: Callable[[], bool] = lambda: True
) -> int:
    """Remove roll-ups of one resolution that began before their region's bound; return how many rows went.

    Those of no region in particular, which are sums over all regions, go by the bound of the others. go_on: asked before each piece;
    what is left waits for the next time.
    """
    gone = 0
    for table in (model_rollups, device_rollups):
        for grain in GRAINS:
            with database.read() as connection:
                regions = regions_of(connection, table, resolution, grain)
            for region in regions:
                columns = table.c
                gone += _remove(
                    database,
                    table,
                    columns.resolution == resolution,
                    columns.grain == grain,
                    columns.region == region,
                    columns.start_s < bounds.regions.get(region, bounds.others),
                    go_on=go_on,
                )
    return gone


def prune_windows(
    database: Database, bounds: Bounds, kept_from_s: float, *, go_on: Callable[[], bool] = lambda: True
) -> int:
    """Remove windows of regions that keep them shorter than `kept_from_s`, before which others remove them; return how many.

    What a region keeps for its own time goes whole, with what was merged into quarters; the others' windows are merged. go_on: asked
    before each piece; what is left waits for the next time.
    """
    belongs = case((devices.c.assigned_number > 0, devices.c.assigned_region), else_=devices.c.region)
    gone = 0
    for region, before_s in bounds.regions.items():
        if not go_on():
            return gone
        theirs = select(devices.c.id).where(belongs == region)
        # Also where its time is the longest of all, by which the controller merges everybody's.
        quarters.prune_of(database, theirs, before_s)
        if before_s > kept_from_s:
            gone += _remove(database, windows, windows.c.placed_s < before_s, windows.c.device.in_(theirs), go_on=go_on)
    if bounds.others > kept_from_s:
        others = select(devices.c.id).where(or_(belongs.is_(None), belongs.not_in(sorted(bounds.regions))))
        gone += quarters.fold(database, bounds.others, others, go_on=go_on)
    return gone


def _remove(database: Database, table: Table, *where: ColumnElement[bool], go_on: Callable[[], bool]) -> int:
    key: list[Any] = list(table.primary_key.columns)
    query = select(*key).where(*where).limit(BATCH)
    statement = delete(table).where(tuple_(*key).in_(query))
    gone = 0
    for _ in range(BATCHES):
        if not go_on():
            break
        with database.read() as connection:
            if connection.execute(query.limit(1)).first() is None:
                break  # most often: the one writer is not asked
        with database.write() as connection:
            count = connection.execute(statement).rowcount
        gone += count
        if count < BATCH:
            break
    return gone
