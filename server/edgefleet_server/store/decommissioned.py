"""Devices that are gone for good: their names, so that one that speaks all the same is known for what it is."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, Row, delete, select, update

from .dialect import insert
from .schema import decommissioned, devices

Kept = Literal["archive", "forget"]
"""archive: what it said stays readable; forget: all of it is removed but its name."""


@dataclass(frozen=True)
class Gone:
    """One device that was decommissioned."""

    device: str
    region: str | None
    actor: str
    why: str
    at_s: float
    kept: str
    state: bytes | None
    """The last that it said of itself, as it came, where it was archived."""
    spoke_s: float | None
    """When it last spoke, if it did so after it was gone."""
    spoke_kind: str | None


def add(connection: Connection, gone: Gone) -> None:
    """Keep that a device is gone; what it said before that is for others to remove."""
    values = {
        "region": gone.region,
        "actor": gone.actor,
        "why": gone.why,
        "at_s": gone.at_s,
        "kept": gone.kept,
        "state": gone.state,
        "spoke_s": None,
        "spoke_kind": None,
    }
    statement = insert(connection, decommissioned).values(device=gone.device, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["device"], set_=values))


def remove_device(connection: Connection, device: str) -> None:
    """Take a device out of the fleet and leave what it said where it is."""
    connection.execute(delete(devices).where(devices.c.id == device))


def names(connection: Connection) -> frozenset[str]:
    """Return the names of all that are gone."""
    return frozenset(row.device for row in connection.execute(select(decommissioned.c.device)))


def find(connection: Connection, device: str) -> Gone | None:
    """Return one, or None."""
    row = connection.execute(select(decommissioned).where(decommissioned.c.device == device)).first()
    return None if row is None else _gone(row)


def after(
    connection: Connection, device: str = "", limit: int = 100, regions: Collection[str] | None = None
) -> tuple[Gone, ...]:
    """Return those after `device`, by name; of `regions` only, where they are given."""
    query = select(decommissioned).where(decommissioned.c.device > device).order_by(decommissioned.c.device)
    if regions is not None:
        query = query.where(decommissioned.c.region.in_(sorted(regions)))
    return tuple(_gone(row) for row in connection.execute(query.limit(limit)))


def spoke(connection: Connection, device: str, kind: str, now: float) -> None:
    """Keep that one of them spoke."""
    which = decommissioned.c.device == device
    connection.execute(update(decommissioned).where(which).values(spoke_s=now, spoke_kind=kind))


def who_spoke(connection: Connection, since_s: float) -> tuple[Gone, ...]:
    """Return those that spoke since then."""
    query = select(decommissioned).where(decommissioned.c.spoke_s >= since_s).order_by(decommissioned.c.device)
    return tuple(_gone(row) for row in connection.execute(query))


def readmit(connection: Connection, device: str) -> bool:
    """Forget that a device was decommissioned; return whether it was."""
    return connection.execute(delete(decommissioned).where(decommissioned.c.device == device)).rowcount == 1


def _gone(row: "Row[tuple[object, ...]]") -> Gone:
    return Gone(row.device, row.region, row.actor, row.why, row.at_s, row.kept, row.state, row.spoke_s, row.spoke_kind)
