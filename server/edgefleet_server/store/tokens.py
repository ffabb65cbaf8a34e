"""API tokens: kept as SHA-256, so that whoever reads the database has none."""

import hashlib
import json
import secrets
from dataclasses import dataclass

from sqlalchemy import Connection, Row, insert, select, update

from .schema import tokens

PREFIX = "ef_"
"""So that a person, or a scanner of leaked secrets, sees what it is."""
RANDOM_BYTES = 32


@dataclass(frozen=True)
class Token:
    """What a token lets its holder do. `regions` of None is every region."""

    id: str
    name: str
    role: str
    regions: frozenset[str] | None
    created_s: float
    expires_s: float
    revoked_s: float | None

    def ended(self, now: float) -> str | None:
        """Return why it is good for nothing any more, or None."""
        if self.revoked_s is not None:
            return "was revoked"
        return "has expired" if now >= self.expires_s else None


def new(
    connection: Connection, name: str, role: str, regions: frozenset[str] | None, now: float, life_s: float
) -> tuple[Token, str]:
    """Keep a new token; return it with its secret, which nobody can read again."""
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    token = Token(secrets.token_hex(4), name, role, regions, now, now + life_s, None)
    connection.execute(
        insert(tokens).values(
            id=token.id,
            name=name,
            sha256=_digest(secret),
            role=role,
            regions=None if regions is None else json.dumps(sorted(regions)),
            created_s=token.created_s,
            expires_s=token.expires_s,
        )
    )
    return token, secret


def of_secret(connection: Connection, secret: str) -> Token | None:
    """Return the token whose secret this is, ended or not; None for one that was never given."""
    row = connection.execute(select(tokens).where(tokens.c.sha256 == _digest(secret))).first()
    return None if row is None else _token(row)


def every(connection: Connection) -> tuple[Token, ...]:
    """Return every token, the newest first."""
    return tuple(_token(row) for row in connection.execute(select(tokens).order_by(tokens.c.created_s.desc())))


def revoke(connection: Connection, token: str, now: float) -> Token | None:
    """End a token by its id; return it as it was, or None when there is none."""
    row = connection.execute(select(tokens).where(tokens.c.id == token)).first()
    if row is None:
        return None
    connection.execute(update(tokens).where(tokens.c.id == token, tokens.c.revoked_s.is_(None)).values(revoked_s=now))
    return _token(row)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _token(row: "Row[tuple[object, ...]]") -> Token:
    regions = None if row.regions is None else frozenset(json.loads(row.regions))
    return Token(row.id, row.name, row.role, regions, row.created_s, row.expires_s, row.revoked_s)
