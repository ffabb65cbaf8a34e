"""The checks that python-tuf's client cannot make: nothing goes back, and nothing older than signed time is believed.

Its own rollback memory is its cache, which is not written durably; and it knows no time but the system's. The memory
here is kept durably by the agent and checked after each look.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from .seams import Memory

_FORM = "%Y-%m-%dT%H:%M:%SZ"


class Rejected(Exception):
    """What was signed is not to be believed now. The message is the reason in words."""


@dataclass(frozen=True)
class SignedRole:
    """A role's metadata that the client verified in this look."""

    name: str
    version: int
    expires: datetime
    keyids: tuple[str, ...]
    """The keys that may sign it, as its delegator says."""
    issued: datetime | None = None
    """Signed time, in root and timestamp."""


def judge(roles: Sequence[SignedRole], memory: Memory, now: datetime) -> Memory:
    """Return the memory after a look that verified `roles`; raise Rejected when one goes back or has expired.

    A role whose keys changed starts a new count, else a thief's version 2^31 would stay after its key was replaced;
    root alone never does. The floor holds signed times only, never the clock's, so that one wrong answer of a time
    server is forgotten; and it is bound to the key of timestamp, so that replacing that key heals a thief's year 2099.
    """
    versions, keyids = dict(memory.versions), dict(memory.keyids)
    for role in roles:
        keys = tuple(sorted(role.keyids))
        before = versions.get(role.name, 0)
        if role.version < before and (role.name == "root" or keyids.get(role.name) == keys):
            raise Rejected(f"rollback: {role.name} is version {role.version} and this device has seen {before}")
        versions[role.name], keyids[role.name] = role.version, keys
    timestamp = next(role for role in roles if role.name == "timestamp")
    timestamp_keys = tuple(sorted(timestamp.keyids))
    if timestamp.issued is not None and timestamp.issued > timestamp.expires:
        raise Rejected(
            f"timestamp says that it was issued at {timestamp.issued:{_FORM}}, after its expiry {timestamp.expires:{_FORM}}"
        )
    times = [role.issued for role in roles if role.issued is not None]
    if memory.floor is not None and memory.floor_keyids == timestamp_keys:
        times.append(memory.floor)
    known = max([now, *times])
    for role in roles:
        if role.expires <= known:
            by = "the clock" if known == now else "signed time"
            raise Rejected(f"expired: {role.name} ended at {role.expires:{_FORM}} and {by} says {known:{_FORM}}")
    return Memory(
        versions=versions,
        keyids=keyids,
        floor=max(times) if times else None,
        floor_keyids=timestamp_keys if times else (),
    )


def parse_issued(role: str, text: object) -> datetime | None:
    """Return the signed time in a role's metadata, None where it has none; raise Rejected when it is no time."""
    if text is None:
        return None
    try:
        return datetime.strptime(str(text), _FORM).replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise Rejected(f"{role} says it was issued at {str(text)[:40]!r}, which is no time") from error
