"""What the next look is going to need, read from bytes that nobody has verified. Pure.

A look starts a child process with python-tuf, which costs a board a second and more. Without hints it would say one round
after the other what it misses: the snapshot, roles, targets, manifests. Here the same chain is followed by reading only, so
that everything is asked for ahead and the child is started once. **A hint is never believed**: a false one costs a few
subscriptions, and what it does not name is still asked for by `Missing`.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label, is_sha256
from edgefleet_protocol.trust import (
    COMMAND_KEYS_PATH,
    KEYS_ROLE,
    MAX_ROOT_ROTATIONS,
    RELEASES_ROLE,
    rollout_path,
    rollouts_role,
)

READ_LIMIT_BYTES = 64_000
"""A snapshot, a rollout document and an online role are smaller. What is larger gives no hint."""
MAX_VERSION = 10**10 - 1
"""What the topic of a version has room for."""
MAX_MANIFESTS = 64
"""As many as a rollout has assignments."""
_ENVELOPE_LIMIT_BYTES = 16_000


class _Version(msgspec.Struct):
    version: int


class _Signed(msgspec.Struct):
    signed: _Version


class _Listing(msgspec.Struct):
    meta: dict[str, _Version] = {}


class _SignedListing(msgspec.Struct):
    signed: _Listing


class _Target(msgspec.Struct):
    hashes: dict[str, str] = {}


class _Targets(msgspec.Struct):
    targets: dict[str, _Target] = {}


class _SignedTargets(msgspec.Struct):
    signed: _Targets


class _Ref(msgspec.Struct):
    sha256: str


class _Assignment(msgspec.Struct):
    release: _Ref


class _Rollout(msgspec.Struct):
    assignments: list[_Assignment] = []


class _Head(msgspec.Struct):
    root: int


class _Envelope(msgspec.Struct):
    payload: str


class _Claim(msgspec.Struct):
    region: str


T = TypeVar("T")


@dataclass(frozen=True)
class Hints:
    """Names to ask for ahead, none of them held."""

    metadata: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sources:
    """Everything that is held, believed or not."""

    root: bytes
    """The packaged root."""
    cache: Mapping[str, bytes]
    """Metadata of the last look that passed."""
    held: Mapping[str, bytes]
    """Metadata that came, by name."""
    targets: Mapping[str, bytes]
    """Targets that are here, by SHA-256."""


def hints(here: Sources, region: str | None) -> Hints:
    """Return what a look at `here` will need beyond it, as far as it can be told now.

    At most 64 roots, a snapshot, 4 roles, 2 targets and 64 manifests, whatever the bytes say.
    """
    names = _roots(here)
    snapshot = _listed(here.held.get("timestamp.json"), "snapshot")
    if snapshot is None:
        return Hints(metadata=tuple(names))
    listing = _metadata(here, "snapshot", snapshot, names)
    roles: dict[str, bytes] = {}
    for role in ("targets", RELEASES_ROLE, KEYS_ROLE, *((rollouts_role(region),) if region else ())):
        version = _listed(listing, role)
        data = _metadata(here, role, version, names) if version is not None else None
        if data is not None:
            roles[role] = data
    return Hints(metadata=tuple(names), targets=_targets(here, region, roles))


def claimed_region(envelope: bytes | None) -> str | None:
    """Return the region that an assignment claims, whoever signed it; None where it claims none."""
    claim = _read(envelope, _Envelope, _ENVELOPE_LIMIT_BYTES)
    try:
        mine = _read(base64.b64decode(claim.payload, validate=True), _Claim) if claim else None
        return check_label("region", mine.region) if mine else None
    except (ValueError, BadName):
        return None


def _roots(here: Sources) -> list[str]:
    """Return the roots between the packaged one and the one that `head` names."""
    first, head = _read(here.root, _Signed), _read(here.held.get("head"), _Head)
    if first is None or head is None:
        return []
    last = min(head.root, first.signed.version + MAX_ROOT_ROTATIONS)
    names = [f"{number}.root.json" for number in range(first.signed.version + 1, last + 1)]
    return [name for name in names if name not in here.held and name not in here.cache]


def _metadata(here: Sources, role: str, version: int, lacking: list[str]) -> bytes | None:
    """Return the bytes of a role in one version; when they are nowhere, add its name to `lacking`."""
    name = f"{version}.{role}.json"
    if name in here.held:
        return here.held[name]
    cached = here.cache.get(f"{role}.json")
    known = _read(cached, _Signed, limit=None)
    if known is not None and known.signed.version == version:
        return cached
    lacking.append(name)
    return None


def _targets(here: Sources, region: str | None, roles: Mapping[str, bytes]) -> tuple[str, ...]:
    wanted = [_digest(roles.get(KEYS_ROLE), COMMAND_KEYS_PATH)]
    if region is not None:
        document = _digest(roles.get(rollouts_role(region)), rollout_path(region))
        rollout = _read(here.targets.get(document or ""), _Rollout)
        wanted.append(document)
        wanted += [row.release.sha256 for row in rollout.assignments[:MAX_MANIFESTS]] if rollout else []
    return tuple(dict.fromkeys(name for name in wanted if name and is_sha256(name) and name not in here.targets))


def _listed(data: bytes | None, role: str) -> int | None:
    """Return the version of a role that a timestamp or snapshot names."""
    found = _read(data, _SignedListing)
    entry = found.signed.meta.get(f"{role}.json") if found else None
    return entry.version if entry is not None and 1 <= entry.version <= MAX_VERSION else None


def _digest(data: bytes | None, path: str) -> str | None:
    """Return the digest that a role lists for a path."""
    found = _read(data, _SignedTargets)
    entry = found.signed.targets.get(path) if found else None
    return entry.hashes.get("sha256") if entry is not None else None


def _read(data: bytes | None, kind: type[T], limit: int | None = READ_LIMIT_BYTES) -> T | None:
    """Return the JSON in `data` as far as it is of that kind; None for anything else."""
    if data is None or (limit is not None and len(data) > limit):
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
