"""The repository's current state, as a device reaches it: from timestamp.json down, never by the highest number.

A publish that was interrupted leaves newer files that nothing refers to; they are not part of the state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.rollout import ReleaseRef
from edgefleet_protocol.trust import COMMAND_KEYS_PATH, KEYS_ROLE, RELEASES_ROLE, release_of_path

from .errors import NotThere, TrustError

METADATA, TARGETS, CHUNKS = "metadata", "targets", "chunks"
ROOT_FIELD = "x-edgefleet-root"
"""In timestamp: the version of root that it belongs to. So a new root comes into force by the same rename as all else."""


@dataclass(frozen=True)
class Current:
    """One consistent state. `files` holds the bytes by published name, with every root."""

    files: dict[str, bytes]
    root: Root
    timestamp: Timestamp
    snapshot: Snapshot
    roles: dict[str, Targets]
    """`targets` and every delegated role."""

    def role_file(self, role: str) -> str:
        """Return the published name of the current version of `role`."""
        return f"{self.roles[role].version}.{role}.json"

    def first_root(self) -> bytes:
        """Return root 1, the one that devices are made with."""
        return self.files["1.root.json"]

    def delegated(self, role: str) -> DelegatedRole:
        """Return who may sign the delegated `role`; raise NotThere when there is none of that name."""
        delegations = self.roles["targets"].delegations
        found = (delegations.roles or {}).get(role) if delegations is not None else None
        if found is None:
            raise NotThere(f"this repository has no role {role}")
        return found

    def key_list(self) -> TargetFile | None:
        """Return the entry of the list of command keys."""
        return self.roles[KEYS_ROLE].targets.get(COMMAND_KEYS_PATH)

    def releases(self) -> dict[str, ReleaseRef]:
        """Return what the offline hand lists, by the release's name."""
        listed = self.roles[RELEASES_ROLE].targets
        return {release_of_path(path): ReleaseRef(path=path, sha256=digest(file)) for path, file in listed.items()}


def digest(file: TargetFile) -> str:
    """Return the SHA-256 that the metadata names for a target."""
    return file.hashes["sha256"]


def read_current(folder: Path) -> Current:
    """Return the state of the repository in `folder`; raise NotThere when there is none, TrustError when it is damaged."""
    place = folder / METADATA
    if not (place / "timestamp.json").is_file():
        raise NotThere(
            f"{folder} holds no trust repository: make one with `edgefleet trust init --repository {folder}`"
        )
    try:
        newest = (place / "timestamp.json").read_bytes()
        timestamp = Metadata[Timestamp].from_bytes(newest).signed
        files = {f"{number}.root.json": data for number, data in _roots(place, root_number(timestamp))}
        root = Metadata[Root].from_bytes(files[f"{len(files)}.root.json"]).signed
        files["timestamp.json"] = newest
        name = f"{timestamp.snapshot_meta.version}.snapshot.json"
        files[name] = (place / name).read_bytes()
        snapshot = Metadata[Snapshot].from_bytes(files[name]).signed
        roles = {}
        for entry, meta in snapshot.meta.items():
            name = f"{meta.version}.{entry}"
            files[name] = (place / name).read_bytes()
            roles[entry.removesuffix(".json")] = Metadata[Targets].from_bytes(files[name]).signed
    except (OSError, RepositoryError, KeyError) as error:
        raise TrustError(f"the repository in {folder} is damaged: {error}. Restore metadata/ from a backup") from error
    return Current(files, root, timestamp, snapshot, roles)


def root_number(timestamp: Timestamp) -> int | None:
    """Return the version of root that `timestamp` belongs to; None in a repository that was made before it said so."""
    number = timestamp.unrecognized_fields.get(ROOT_FIELD)
    return number if type(number) is int and number >= 1 else None


def _roots(place: Path, last: int | None) -> Iterator[tuple[int, bytes]]:
    number = 1
    while (last is None or number <= last) and (path := place / f"{number}.root.json").is_file():
        yield number, path.read_bytes()
        number += 1
    if last is not None and number <= last:
        raise FileNotFoundError(f"{number}.root.json is missing")


def read_target(folder: Path, sha256: str) -> bytes:
    """Return the target called `sha256`; raise TrustError when it is gone or changed."""
    try:
        data = (folder / TARGETS / sha256).read_bytes()
    except FileNotFoundError as error:
        raise NotThere(f"the repository in {folder} lacks the target {sha256}") from error
    if sha256_hex(data) != sha256:
        raise TrustError(f"the target {sha256} in {folder} was changed: restore it from a backup")
    return data
