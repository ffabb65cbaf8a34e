"""The roles of the repository: who signs what, for how long, and the first metadata of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from securesystemslib.signer import Key, Signer
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets
from tuf.api.serialization.json import JSONSerializer

from edgefleet_protocol.trust import (
    ISSUED_FIELD,
    KEYS_PATTERN,
    KEYS_ROLE,
    RELEASES_PATTERN,
    RELEASES_ROLE,
    rollout_path,
    rollouts_role,
)

OFFLINE_LIFE = timedelta(days=365)
"""root, targets, releases, keys: the holders meet once a year. `trust status` warns early enough (below)."""
ONLINE_LIFE = timedelta(days=30)
"""snapshot and rollouts."""
TIMESTAMP_LIFE = timedelta(days=7)
"""The longest that a broker can show a device an old state without being noticed."""
WARN = {"root": 90, "targets": 90, RELEASES_ROLE: 60, KEYS_ROLE: 60, "snapshot": 7, "timestamp": 2}
"""Days before expiry from which `trust status` warns; other roles are online and like snapshot."""

ONLINE_ROLES = ("snapshot", "timestamp")
"""And one for each region."""
NUMBERS_FIELD = "x-edgefleet-numbers"
"""In the list of releases: the last number given, by model. So a withdrawn release's number is never given again."""
FLEET_FIELD = "x-edgefleet-fleet"
"""In root: whose repository it is, in words."""
COMMANDS_KEY = "commands"
_BYTES = JSONSerializer(compact=True)


@dataclass(frozen=True)
class PublicKeys:
    """The public half of each key, by what it signs."""

    root: tuple[Key, ...]
    releases: tuple[Key, ...]
    keys: tuple[Key, ...]
    snapshot: Key
    timestamp: Key
    rollouts: Mapping[str, Key]
    """By region."""
    root_threshold: int = 1
    """Of root, targets and keys."""
    releases_threshold: int = 1


def stamp(moment: datetime) -> str:
    """Return `moment` as TUF writes times: UTC, whole seconds, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def whole_seconds(moment: datetime) -> datetime:
    """Return `moment` in UTC without its microseconds, which TUF refuses in an expiry."""
    return moment.astimezone(UTC).replace(microsecond=0)


def is_online(role: str) -> bool:
    """Return whether the server signs for `role`."""
    return role in ONLINE_ROLES or role.startswith("rollouts-")


def life(role: str) -> timedelta:
    """Return how long a new version of `role` is valid."""
    if role == "timestamp":
        return TIMESTAMP_LIFE
    return ONLINE_LIFE if is_online(role) else OFFLINE_LIFE


def new_root(keys: PublicKeys, now: datetime) -> Metadata[Root]:
    """Return root version 1, unsigned."""
    root = Root(version=1, expires=whole_seconds(now) + life("root"), consistent_snapshot=True)
    for key in keys.root:
        root.add_key(key, "root")
        root.add_key(key, "targets")
    root.add_key(keys.snapshot, "snapshot")
    root.add_key(keys.timestamp, "timestamp")
    root.roles["root"].threshold = root.roles["targets"].threshold = keys.root_threshold
    root.unrecognized_fields[ISSUED_FIELD] = stamp(now)
    return Metadata(root)


def new_targets(keys: PublicKeys, now: datetime) -> Metadata[Targets]:
    """Return the top-level targets: no target, only who may sign which paths. Patterns are disjoint and terminating."""
    rows = [
        (RELEASES_ROLE, keys.releases, keys.releases_threshold, RELEASES_PATTERN),
        (KEYS_ROLE, keys.keys, keys.root_threshold, KEYS_PATTERN),
    ]
    rows += [(rollouts_role(region), (key,), 1, rollout_path(region)) for region, key in keys.rollouts.items()]
    by_id = {key.keyid: key for _, owners, _, _ in rows for key in owners}
    roles = {
        name: DelegatedRole(name, [key.keyid for key in owners], threshold, True, paths=[pattern])
        for name, owners, threshold, pattern in rows
    }
    return Metadata(
        Targets(version=1, expires=whole_seconds(now) + life("targets"), delegations=Delegations(by_id, roles))
    )


def new_role(role: str, now: datetime) -> Metadata[Targets]:
    """Return the first version of a delegated role: it lists nothing yet."""
    return Metadata(Targets(version=1, expires=whole_seconds(now) + life(role)))


def sign(metadata: Metadata[Any], signers: Iterable[Signer]) -> bytes:
    """Sign `metadata` anew with `signers` alone; return the bytes that are published."""
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(_BYTES)


def to_bytes(metadata: Metadata[Any]) -> bytes:
    """Return `metadata` with the signatures that it has."""
    return metadata.to_bytes(_BYTES)


def add_signature(metadata: Metadata[Any], signer: Signer) -> bytes:
    """Add one holder's signature to those that are there; return the bytes."""
    metadata.sign(signer, append=True)
    return metadata.to_bytes(_BYTES)
