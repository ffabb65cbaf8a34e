"""A motion: one file by which holders change who may sign, or what is listed, without a new release.

First keys (a ceremony), rotations, renewals, new regions and withdrawals are all the same thing: the metadata that it
builds on, and the next version of whichever roles change. What it changes is worked out from the two, never believed
from words in the file. JSON, a few kilobytes; it travels by any means and gathers signatures.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from edgefleet_protocol.trust import KEYS_ROLE, RELEASES_ROLE

from .current import Current, read_target
from .errors import BadProposal, NotThere
from .files import Disk, open_regular
from .roles import to_bytes

OFFLINE = ("root", "targets", RELEASES_ROLE, KEYS_ROLE)
"""The roles that holders sign, in the order in which they are checked."""
MAX_MOTION_BYTES = 8_000_000
"""Lists of releases before and after have up to 1 MB each."""


class Motion(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file's contents, not yet judged. Metadata is kept as the text that was signed."""

    roots: tuple[str, ...]
    """From root 1, in order; empty in a ceremony."""
    base: dict[str, str]
    """targets, releases and keys as they are; empty in a ceremony."""
    next: dict[str, str]
    """The roles that change, with the signatures so far."""
    key_list: str
    """The list of command keys that will be in force, whether it changes or not."""
    fleet: str = ""
    regions: tuple[str, ...] = ()
    """Of a ceremony, in the order in which they were named."""
    restart: bool = False
    """Whether snapshot and timestamp count anew: their old keys may be a thief's."""
    format: int = 1

    @property
    def is_ceremony(self) -> bool:
        """Whether it makes a repository instead of changing one."""
        return not self.roots

    def metadata(self, role: str) -> Metadata[Any]:
        """Return the next version of `role`; raise BadProposal when it cannot be read."""
        return parse(self.next[role], f"the next {role}")

    def current(self, role: str) -> Metadata[Any]:
        """Return the version of `role` that the motion builds on."""
        return parse(self.roots[-1] if role == "root" else self.base[role], f"the current {role}")

    def with_signed(self, signed: Mapping[str, Metadata[Any]]) -> "Motion":
        """Return the same with other signatures on some roles."""
        return replace(self, next=self.next | {role: to_bytes(data).decode() for role, data in signed.items()})


def parse(text: str, what: str) -> Metadata[Any]:
    """Return the metadata in `text`; raise BadProposal when it is none."""
    try:
        return Metadata[Any].from_bytes(text.encode())
    except (RepositoryError, ValueError, RecursionError) as error:
        raise BadProposal(f"{what} cannot be read: {error}") from error


def parse_as(kind: type, metadata: Metadata[Any], what: str) -> Any:
    """Return the signed part of `metadata`; raise BadProposal when it is another kind of role."""
    if not isinstance(metadata.signed, kind):
        raise BadProposal(f"{what} is metadata of another kind: {metadata.signed.type}")
    return metadata.signed


class Draft:
    """The next version of every offline role, being written. What was not touched stays as it is."""

    def __init__(self, current: Current, folder: Path) -> None:
        files = current.files
        self.current = current
        self.root: Root = Metadata[Root].from_bytes(files[f"{current.root.version}.root.json"]).signed
        self.roles: dict[str, Targets] = {
            role: Metadata[Targets].from_bytes(files[current.role_file(role)]).signed for role in OFFLINE[1:]
        }
        entry = current.key_list()
        if entry is None:
            raise NotThere("the repository lists no command key: it is damaged, restore it from a backup")
        self.key_list = read_target(folder, entry.hashes["sha256"])
        self.touched: set[str] = set()
        self.restart = False

    def motion(self) -> Motion:
        """Return what was written, with nobody's signature."""
        bodies: dict[str, Any] = {"root": self.root, **self.roles}
        files = self.current.files
        return Motion(
            roots=tuple(files[f"{number}.root.json"].decode() for number in range(1, self.current.root.version + 1)),
            base={role: files[self.current.role_file(role)].decode() for role in OFFLINE[1:]},
            next={role: to_bytes(Metadata(bodies[role])).decode() for role in OFFLINE if role in self.touched},
            key_list=self.key_list.decode(),
            restart=self.restart,
        )


def encode_motion(motion: Motion) -> bytes:
    """Return the bytes of the file."""
    return msgspec.json.format(msgspec.json.encode(motion), indent=1) + b"\n"


def write_motion(path: Path, motion: Motion, disk: Disk) -> None:
    """Write the motion to `path`, whole or not at all."""
    disk.put(path, encode_motion(motion))


def read_motion(path: Path) -> Motion:
    """Return the motion in the file at `path`; raise NotThere, or BadProposal for any other kind of file."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_MOTION_BYTES + 1)
    except FileNotFoundError as error:
        raise NotThere(f"there is no file {path}") from error
    except OSError as error:
        raise BadProposal(f"{path} cannot be read: {error.strerror}") from error
    try:
        if len(data) > MAX_MOTION_BYTES:
            raise ValueError(f"more than {MAX_MOTION_BYTES} bytes")
        motion = msgspec.json.decode(data, type=Motion)
        odd = [role for role in (*motion.next, *motion.base) if role not in OFFLINE]
        if motion.format != 1 or odd or (motion.roots and set(motion.base) != set(OFFLINE[1:])):
            raise ValueError("it is of another form: " + (", ".join(odd) or f"format {motion.format}"))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadProposal(f"{path} is nothing that holders sign: {error}") from error
    return motion


def is_motion(path: Path) -> bool:
    """Return whether the file at `path` looks like a motion and not like a release proposal, which is a zip."""
    try:
        with open_regular(path) as file:
            return file.read(1) == b"{"
    except OSError:
        return False
