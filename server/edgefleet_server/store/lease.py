"""Who may do what only one may do: one row a name, with a number that rises whenever the holder changes.

The holder writes its row in every transaction in which it acts. Another one that takes the lease must write the same row, so
whoever was too slow finds a higher number there and changes nothing: a lease that only looked at the clock could not promise that.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from .dialect import insert
from .schema import leases


@dataclass(frozen=True)
class Lease:
    """A lease as it is held. `fence` is higher than that of every holder before."""

    name: str
    holder: str
    fence: int
    until_s: float


class Lost(Exception):
    """Another one holds the lease now: what was about to be done must not be."""


def take(
    connection: Connection, name: str, holder: str, now: float, life_s: float, *, alone: bool = False
) -> Lease | None:
    """Return the lease, taken or kept for `life_s` from now; None while another one has it.

    alone: no other process can live over this database, as a lock on SQLite's file says; what a dead one left is taken at once.
    """
    statement = insert(connection, leases).values(name=name, holder="", fence=0, until_s=float(now))
    connection.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
    query = select(leases).where(leases.c.name == name).with_for_update()
    row = connection.execute(query).one()
    if row.holder != holder:
        if row.holder and row.until_s > now and not alone:
            return None
        fence = row.fence + 1
    else:
        fence = row.fence
    found = Lease(name, holder, fence, now + life_s)
    connection.execute(
        update(leases).where(leases.c.name == name).values(holder=holder, fence=fence, until_s=found.until_s)
    )
    return found


def hold(connection: Connection, lease: Lease) -> None:
    """Make this transaction one of the holder; raise Lost when another one has taken the lease."""
    result = connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.fence == lease.fence, leases.c.holder == lease.holder)
        .values(fence=lease.fence)
    )
    if result.rowcount != 1:
        raise Lost(f"{lease.name}: another one took it after number {lease.fence}")


def give_back(connection: Connection, lease: Lease, now: float) -> None:
    """Let another one have it at once."""
    connection.execute(
        update(leases)
        .where(leases.c.name == lease.name, leases.c.fence == lease.fence, leases.c.holder == lease.holder)
        .values(holder="", until_s=now)
    )


def holder(connection: Connection, name: str) -> Lease | None:
    """Return who has it, or had it last; None when nobody ever did."""
    row = connection.execute(select(leases).where(leases.c.name == name)).first()
    return None if row is None else Lease(row.name, row.holder, row.fence, row.until_s)
