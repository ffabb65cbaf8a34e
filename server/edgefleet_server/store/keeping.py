"""Removing measurements of a region's devices that are older than the region keeps them, a few devices at a time."""

from sqlalchemy import case, delete, select

from .database import Database
from .schema import devices, windows

DEVICES = 50
"""To a transaction: a long one would hold up what comes in."""


def prune_region(database: Database, region: str, before_s: float) -> int:
    """Remove the windows of a region's devices that were placed before `before_s`; return how many."""
    where = case((devices.c.assigned_number > 0, devices.c.assigned_region), else_=devices.c.region)
    with database.read() as connection:
        names = [row.id for row in connection.execute(select(devices.c.id).where(where == region))]
    gone = 0
    for at in range(0, len(names), DEVICES):
        some = names[at : at + DEVICES]
        with database.write() as connection:
            old = windows.c.device.in_(some) & (windows.c.placed_s < before_s)
            gone += connection.execute(delete(windows).where(old)).rowcount
    return gone
