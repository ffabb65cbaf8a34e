"""Ending what a device is known by. The broker must hear of it too: a list that nobody reads keeps nobody out."""

from datetime import datetime, timezone

from ..errors import NotFound
from ..store import audit, identities
from ..store.database import Connection
from .authority import Authority


def revoke_device(connection: Connection, authority: Authority, device: str, actor: str, now: float) -> tuple[str, ...]:
    """Revoke every certificate of `device` that still could be used; return their serials.

    The new list lies in the authority's folder when this returns; the caller has the broker read it, and ends the
    device's connection. Again for a device that is revoked, the list is written anew and nothing else changes. Raises
    NotFound for a device that never had a certificate.
    """
    rows = identities.of_device(connection, device)
    if not rows:
        raise NotFound(f"{device} never had a certificate here: edgefleet device list shows who is known")
    live = tuple(row.serial for row in rows if row.live)
    # All of them: a power cut may have kept a row and lost the list, and a serial that is on it stays as it is.
    authority.revoke_all([row.serial for row in rows], datetime.fromtimestamp(now, timezone.utc))
    for serial in live:
        identities.revoke(connection, serial, now)
    words = f"certificates {', '.join(live)}" if live else "was revoked before"
    audit.add(connection, audit.AuditRow(now, actor, "device.revoke", rows[0].region, device, words))
    return live
