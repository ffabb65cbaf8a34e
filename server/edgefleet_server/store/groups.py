"""Groups of devices, saved as the query that finds them."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from .dialect import insert
from .schema import device_groups


@dataclass(frozen=True)
class GroupRow:
    """One group. Who belongs to it is looked up each time."""

    name: str
    query: str
    actor: str
    at_s: float


def put(connection: Connection, group: GroupRow) -> None:
    """Keep a group, in the place of one of the same name."""
    values = {"query": group.query, "actor": group.actor, "at_s": group.at_s}
    statement = insert(connection, device_groups).values(name=group.name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def find(connection: Connection, name: str) -> GroupRow | None:
    """Return one group, or None."""
    row = connection.execute(select(device_groups).where(device_groups.c.name == name)).first()
    return None if row is None else GroupRow(row.name, row.query, row.actor, row.at_s)


def drop(connection: Connection, name: str) -> bool:
    """Remove a group; return whether it was there. Its devices stay what they are."""
    return connection.execute(delete(device_groups).where(device_groups.c.name == name)).rowcount == 1


def after(connection: Connection, name: str = "", limit: int = 100) -> tuple[GroupRow, ...]:
    """Return the groups after `name`, by name."""
    query = select(device_groups).where(device_groups.c.name > name).order_by(device_groups.c.name).limit(limit)
    return tuple(GroupRow(row.name, row.query, row.actor, row.at_s) for row in connection.execute(query))
