"""Enrolment tokens: 128 random bits that let a device in, and the authority's fingerprint, so that it knows whom it asks.

`ef1.<fingerprint>.<secret>`, both base64url. The server keeps only the secret's hash; the device sends only the secret.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field

PREFIX = "ef1"
SECRET_BYTES = 16
LIFE_S = 24 * 3600.0


@dataclass(frozen=True)
class Allowed:
    """One line of a batch's list: a board that may come, and what it is to be called, if that is said."""

    serial: str
    device: str | None = None


@dataclass(frozen=True)
class Token:
    """What the server keeps of a token."""

    id: str
    """The beginning of its hash: names it to people, and lets nobody in."""
    sha256: str
    region: str
    tags: tuple[str, ...]
    created_s: float
    expires_s: float
    cap: int = 1
    """How many devices it lets in."""
    device: str | None = None
    """The only device that it is for, which may have an identity already: that one ends."""
    allowed: tuple[Allowed, ...] = field(default=())
    """The boards that may use it; none: any."""
    approve: bool = False
    """Whether each device waits until somebody says yes."""
    revoked_s: float | None = None


def new_secret() -> bytes:
    """Return a new token's secret."""
    return secrets.token_bytes(SECRET_BYTES)


def written(ca_fingerprint: bytes, secret: bytes) -> str:
    """Return the token as people copy it."""
    return f"{PREFIX}.{_text(ca_fingerprint)}.{_text(secret)}"


def password(secret: bytes) -> str:
    """Return what the device sends of it."""
    return _text(secret)


def hashed(sent: str) -> str:
    """Return what the server keeps of a password. No slow hash: nobody guesses 128 bits."""
    return hashlib.sha256(sent.encode()).hexdigest()


def identifier(sha256: str) -> str:
    """Return the token's id."""
    return sha256[:12]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
