"""What the hub has put on the broker, so that it knows what to take away, also after its own restart."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, select

from .dialect import insert
from .schema import retained


def every(connection: Connection) -> dict[str, str]:
    """Return the digest of each topic's payload, by topic."""
    return {row.topic: row.digest for row in connection.execute(select(retained.c.topic, retained.c.digest))}


UNSETTLED = ""
"""Instead of a digest: the topic is being sent or cleared, and what it holds is not known."""


def unsettled(connection: Connection) -> dict[str, str]:
    """Return the topics of which it is not known what they hold."""
    rows = connection.execute(select(retained.c.topic).where(retained.c.digest == UNSETTLED))
    return {row.topic: UNSETTLED for row in rows}


def put(connection: Connection, topics: Mapping[str, tuple[str, int]]) -> None:
    """Keep that each topic now holds a payload of this (digest, bytes)."""
    for topic, (digest, size) in topics.items():
        values = {"digest": digest, "bytes": size}
        statement = insert(connection, retained).values(topic=topic, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["topic"], set_=values))


def drop(connection: Connection, topics: Iterable[str]) -> None:
    """Keep that these topics were cleared."""
    for topic in topics:
        connection.execute(delete(retained).where(retained.c.topic == topic))
