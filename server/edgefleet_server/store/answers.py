"""First answers to requests that carried an idempotency key, so that the same request sent again is done once."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, select, update

from .dialect import insert
from .schema import answers


@dataclass(frozen=True)
class Answer:
    """What was answered. `status` is None while the first request is still at work."""

    digest: str
    """Of the request: method, path, query and body."""
    at_s: float
    status: int | None
    kind: str
    body: bytes


def claim(connection: Connection, actor: str, key: str, digest: str, now: float) -> bool:
    """Take `key` for a request; return False when somebody has it already."""
    statement = insert(connection, answers).values(actor=actor, key=key, digest=digest, at_s=now)
    # Without the option PostgreSQL's driver does not tell how many rows there were.
    once = statement.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return connection.execute(once).rowcount == 1


def find(connection: Connection, actor: str, key: str) -> Answer | None:
    """Return what `key` was answered, or None when it is free."""
    row = connection.execute(select(answers).where(answers.c.actor == actor, answers.c.key == key)).first()
    return None if row is None else Answer(row.digest, row.at_s, row.status, row.kind or "", row.body or b"")


def keep(connection: Connection, actor: str, key: str, status: int, kind: str, body: bytes) -> None:
    """Keep the answer."""
    which = (answers.c.actor == actor, answers.c.key == key)
    connection.execute(update(answers).where(*which).values(status=status, kind=kind, body=body))


def free(connection: Connection, actor: str, key: str) -> None:
    """Give `key` free again: what was asked was not done."""
    connection.execute(delete(answers).where(answers.c.actor == actor, answers.c.key == key))


def prune(connection: Connection, before_s: float) -> None:
    """Remove what is older."""
    connection.execute(delete(answers).where(answers.c.at_s < before_s))
