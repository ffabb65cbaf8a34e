"""Identities: every certificate that a device was given, until it is of no use any more."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from .schema import identities


@dataclass(frozen=True)
class IdentityRow:
    """One certificate."""

    serial: str
    """Hexadecimal digits."""
    device: str
    public_key: str
    """SHA-256 of the SubjectPublicKeyInfo."""
    region: str
    issued_s: float
    not_after_s: float
    certificate: str
    """PEM."""
    replaces: str | None = None
    """The serial of the certificate that it renews."""
    confirmed_s: float | None = None
    """When the device first came with it."""
    revoked_s: float | None = None
    token: str | None = None
    """The id of the token that let the device in."""

    @property
    def live(self) -> bool:
        """Whether it was never revoked."""
        return self.revoked_s is None


def add(connection: Connection, row: IdentityRow) -> None:
    """Keep a new certificate."""
    connection.execute(insert(identities).values(**vars(row)))


def find(connection: Connection, serial: str) -> IdentityRow | None:
    """Return the certificate with this serial, or None."""
    return _first(connection, identities.c.serial == serial)


def of_key(connection: Connection, public_key: str) -> IdentityRow | None:
    """Return the newest certificate of a key, or None."""
    return _first(connection, identities.c.public_key == public_key)


def of_device(connection: Connection, device: str) -> tuple[IdentityRow, ...]:
    """Return the certificates of a device, the newest first."""
    query = select(identities).where(identities.c.device == device).order_by(*_NEWEST)
    return tuple(_row(row) for row in connection.execute(query).mappings())


def successor(connection: Connection, serial: str) -> IdentityRow | None:
    """Return the newest certificate that renews this one and was not revoked, or None."""
    return _first(connection, (identities.c.replaces == serial) & identities.c.revoked_s.is_(None))


def every(connection: Connection) -> tuple[IdentityRow, ...]:
    """Return all of them by device, the newest first."""
    query = select(identities).order_by(identities.c.device, *_NEWEST)
    return tuple(_row(row) for row in connection.execute(query).mappings())


def confirm(connection: Connection, serial: str, now: float) -> None:
    """Keep that the device came with this certificate."""
    connection.execute(
        update(identities)
        .where((identities.c.serial == serial) & identities.c.confirmed_s.is_(None))
        .values(confirmed_s=now)
    )


def revoke(connection: Connection, serial: str, now: float) -> None:
    """Keep that a certificate is revoked; the first time counts."""
    connection.execute(
        update(identities)
        .where((identities.c.serial == serial) & identities.c.revoked_s.is_(None))
        .values(revoked_s=now)
    )


_NEWEST = (identities.c.issued_s.desc(), identities.c.serial)


def _first(connection: Connection, where: Any) -> IdentityRow | None:
    row = connection.execute(select(identities).where(where).order_by(*_NEWEST).limit(1)).mappings().first()
    return None if row is None else _row(row)


def _row(row: RowMapping) -> IdentityRow:
    return IdentityRow(**dict(row))
