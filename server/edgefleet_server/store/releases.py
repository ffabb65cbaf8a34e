"""Releases that the server has seen listed, and since when."""

from collections.abc import Mapping

from sqlalchemy import Connection, select

from edgefleet_protocol.rollout import ReleaseRef

from .dialect import insert
from .schema import releases


def see(connection: Connection, listed: Mapping[str, ReleaseRef], now: float) -> None:
    """Keep each listed release, with the time when it was first seen."""
    for name, ref in listed.items():
        values = {"path": ref.path, "sha256": ref.sha256}
        statement = insert(connection, releases).values(name=name, seen_s=now, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))


def seen(connection: Connection) -> dict[str, float]:
    """Return when each release was first seen, by name."""
    return {row.name: row.seen_s for row in connection.execute(select(releases).order_by(releases.c.name))}
