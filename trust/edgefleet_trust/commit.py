"""One change of the repository: new role metadata, then snapshot and timestamp by the online keys, all or nothing.

The set is shown to a fresh client first. Then files come into place in the order in which nothing refers to what is not
there yet: chunks, targets, metadata, and timestamp.json very last; until that rename every client sees the old state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.trust import ISSUED_FIELD

from .current import CHUNKS, METADATA, ROOT_FIELD, TARGETS, Current
from .device_view import device_view
from .errors import WrongClock
from .files import Disk
from .online import OnlineKeys
from .roles import ONLINE_ROLES, life, sign, stamp, whole_seconds

KEPT_VERSIONS = 2
"""Of each role besides root: a device may be in the middle of fetching the state before this one."""
CLOCK_SLACK = timedelta(minutes=1)
"""A clock that is kept right is set back by less; the signed times then stand still instead of going back."""


@dataclass(frozen=True)
class Change:
    """What is new. Metadata is signed already."""

    roles: Mapping[str, bytes] = field(default_factory=dict)
    targets: Mapping[str, bytes] = field(default_factory=dict)
    """By SHA-256."""
    chunks: Mapping[str, bytes] = field(default_factory=dict)
    """Payloads by the SHA-256 of the plain bytes."""
    found: Mapping[str, str | None] = field(default_factory=dict)
    """Target paths that a device must find afterwards, with their SHA-256."""
    beside: Mapping[str, bytes] = field(default_factory=dict)
    """Files that no device reads, by their path in the repository."""
    root: bytes | None = None
    """The next root, where it changes."""
    restart: bool = False
    """Whether snapshot and timestamp have new keys and count anew, since a thief may have counted far ahead."""


def last_issued(current: Current) -> datetime | None:
    """Return the newest time that was signed, which is a floor for every device that saw it; None where none is told."""
    try:
        issued = datetime.strptime(str(current.timestamp.unrecognized_fields[ISSUED_FIELD]), "%Y-%m-%dT%H:%M:%SZ")
    except (KeyError, ValueError):
        return None
    return issued.replace(tzinfo=UTC)


def signing_time(current: Current, now: datetime) -> datetime:
    """Return the time to sign with: `now`, and never before the last one.

    Raises WrongClock when `now` is clearly before it: a clock that was once in the future has lifted the devices' floor,
    and what is signed with an earlier time they would refuse one by one, in silence. It is for a person to see.
    """
    last = last_issued(current)
    if last is None or now >= last:
        return now
    if last - now <= CLOCK_SLACK:
        return last
    raise WrongClock(
        f"this machine's clock says {stamp(now)} and the repository was signed at {stamp(last)}: set the clock. If the "
        "clock is right now, it was wrong then: restore metadata/ from a backup of before, and expect devices that saw "
        "the later time to take no change until it has come"
    )


def online_pair(
    roles: Mapping[str, bytes], versions: tuple[int, int], keys: OnlineKeys, now: datetime, root: Root | None = None
) -> dict[str, bytes]:
    """Return a new snapshot of `roles` and a timestamp of it, by published name.

    versions: of the snapshot and the timestamp. root: that they belong to; where it is not said, any key will do.
    """
    who = {role: root.roles[role].keyids if root is not None else None for role in ONLINE_ROLES}
    meta = {}
    for role, data in roles.items():
        version = Metadata[Targets].from_bytes(data).signed.version
        meta[f"{role}.json"] = MetaFile(version, len(data), {"sha256": sha256_hex(data)})
    snapshot = Snapshot(version=versions[0], expires=whole_seconds(now) + life("snapshot"), meta=meta)
    body = sign(Metadata(snapshot), [keys.signer("snapshot", who["snapshot"])])
    timestamp = Timestamp(
        version=versions[1],
        expires=whole_seconds(now) + life("timestamp"),
        snapshot_meta=MetaFile(versions[0], len(body), {"sha256": sha256_hex(body)}),
    )
    timestamp.unrecognized_fields[ISSUED_FIELD] = stamp(now)
    if root is not None:
        timestamp.unrecognized_fields[ROOT_FIELD] = root.version
    return {
        f"{versions[0]}.snapshot.json": body,
        "timestamp.json": sign(Metadata(timestamp), [keys.signer("timestamp", who["timestamp"])]),
    }


def commit(
    folder: Path,
    current: Current,
    change: Change,
    keys: OnlineKeys,
    now: datetime,
    disk: Disk,
    *,
    old_clients: bool = False,
) -> None:
    """Bring `change` into the repository in `folder`, whose lock the caller holds.

    old_clients: look also as a device that has seen the state before, which is worth its time when people changed
    something. Raises BreaksRule, with nothing changed, when a device would refuse the result, or when the clock went back.
    """
    root = Metadata[Root].from_bytes(change.root).signed if change.root is not None else current.root
    # A new timestamp key starts a new time on every device, so a false one that was signed with the old key is over.
    if set(root.roles["timestamp"].keyids) == set(current.root.roles["timestamp"].keyids):
        now = signing_time(current, now)
    roles = {role: current.files[current.role_file(role)] for role in current.roles} | dict(change.roles)
    versions = (
        following(folder, "snapshot", current.snapshot.version, restart=change.restart),
        following(folder, "timestamp", current.timestamp.version, restart=change.restart),
    )
    fresh = {
        f"{Metadata[Targets].from_bytes(data).signed.version}.{role}.json": data for role, data in change.roles.items()
    }
    if change.root is not None:
        fresh[f"{root.version}.root.json"] = change.root
    pair = online_pair(roles, versions, keys, now, root)
    device_view(current.files | fresh | pair, change.found, before=current.files if old_clients else None)
    for path in change.beside:
        (folder / path).parent.mkdir(exist_ok=True)
    disk.put_all({folder / path: data for path, data in change.beside.items()})
    place(folder, change.targets, change.chunks, fresh | pair, disk)
    prune(folder, {f"{role}.json": Metadata[Targets].from_bytes(data).signed.version for role, data in roles.items()}
          | {"snapshot.json": versions[0]}, disk)  # fmt: skip


def following(folder: Path, role: str, version: int, *, restart: bool) -> int:
    """Return the version after `version`; where counting starts anew, the first that no file of the old count has."""
    if not restart:
        return version + 1
    number = 1
    while (folder / METADATA / f"{number}.{role}.json").exists():
        number += 1
    return number


def place(
    folder: Path, targets: Mapping[str, bytes], chunks: Mapping[str, bytes], metadata: Mapping[str, bytes], disk: Disk
) -> None:
    """Write everything durably, each kind before what refers to it."""
    disk.put_all({path: data for name, data in chunks.items() if _differs(path := folder / CHUNKS / name, data)})
    disk.put_all({folder / TARGETS / name: data for name, data in targets.items()})
    disk.put_all({folder / METADATA / name: data for name, data in metadata.items() if name != "timestamp.json"})
    disk.put(folder / METADATA / "timestamp.json", metadata["timestamp.json"])


def _differs(path: Path, data: bytes) -> bool:
    """A chunk that is there already may have rotted; the payload at hand was checked."""
    return not path.exists() or path.read_bytes() != data


def prune(folder: Path, versions: Mapping[str, int], disk: Disk) -> None:
    """Remove versions that nobody needs any more; roots stay for ever.

    versions: what is in force, by the name after the number. Higher ones are leftovers of an interrupted change, or of a
    count that a thief drove far ahead.
    """
    for path in (folder / METADATA).glob("*.*.json"):
        number, _, role = path.name.partition(".")
        if not number.isdigit() or role not in versions:
            continue
        # Twice as many as are published: a reader may just be collecting them.
        if not versions[role] - 2 * KEPT_VERSIONS < int(number) <= versions[role]:
            disk.remove(path)
