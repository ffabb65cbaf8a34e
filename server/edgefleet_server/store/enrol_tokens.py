"""Enrolment tokens: their hashes, and what each allows."""

import json

from sqlalchemy import Connection, RowMapping, insert, select, update

from ..identity.tokens import Allowed, Token
from .schema import enrol_tokens


def add(connection: Connection, token: Token) -> None:
    """Keep a new token."""
    allowed = [[one.serial, one.device] for one in token.allowed]
    values = {**vars(token), "tags": json.dumps(list(token.tags)), "allowed": json.dumps(allowed)}
    connection.execute(insert(enrol_tokens).values(**values))


def by_hash(connection: Connection, sha256: str) -> Token | None:
    """Return the token whose secret has this hash, or None."""
    row = connection.execute(select(enrol_tokens).where(enrol_tokens.c.sha256 == sha256)).mappings().first()
    return None if row is None else _token(row)


def find(connection: Connection, identifier: str) -> Token | None:
    """Return the token with this id, or None."""
    row = connection.execute(select(enrol_tokens).where(enrol_tokens.c.id == identifier)).mappings().first()
    return None if row is None else _token(row)


def every(connection: Connection) -> tuple[Token, ...]:
    """Return all tokens, the newest first."""
    query = select(enrol_tokens).order_by(enrol_tokens.c.created_s.desc(), enrol_tokens.c.id)
    return tuple(_token(row) for row in connection.execute(query).mappings())


def revoke(connection: Connection, identifier: str, now: float) -> None:
    """Keep that a token lets nobody in any more."""
    connection.execute(
        update(enrol_tokens)
        .where((enrol_tokens.c.id == identifier) & enrol_tokens.c.revoked_s.is_(None))
        .values(revoked_s=now)
    )


def _token(row: RowMapping) -> Token:
    allowed = tuple(Allowed(serial, device) for serial, device in json.loads(row["allowed"]))
    return Token(**{**dict(row), "tags": tuple(json.loads(row["tags"])), "allowed": allowed})
