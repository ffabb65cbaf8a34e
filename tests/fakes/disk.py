"""A disk in memory that keeps aside what was not fsynced, and loses any part of it in a cut.

What is modelled: bytes of a file survive once the file was fsynced, names in a folder once the folder was. Everything
else survives or not, each change for itself, in any combination; a write may also survive in part. That is harsher than
any journalling file system. A rename within a folder is one change: the old or the new name, never both or neither.
"""

import contextlib
import errno
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from edgefleet_agent.store.disk import Disk, Site


@dataclass
class File:
    """Bytes as a reader sees them, bytes as they would be after a cut that loses all, and the changes in between."""

    data: bytes = b""
    durable: bytes = b""
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        self.pending.append(("write", offset, data))
        self.data = overlay(self.data, offset, data)

    def truncate(self, size: int) -> None:
        self.pending.append(("truncate", size, b""))
        self.data = resize(self.data, size)

    def sync(self) -> None:
        self.durable, self.pending = self.data, []


@dataclass
class Folder:
    """Names now, names after a cut that loses all, and the changes in between: (name that goes, name that comes, node)."""

    entries: dict[str, Any] = field(default_factory=dict)
    durable: dict[str, Any] = field(default_factory=dict)
    pending: list[tuple[str | None, str | None, Any]] = field(default_factory=list)

    def change(self, goes: str | None, comes: str | None, node: Any) -> None:
        self.pending.append((goes, comes, node))
        apply_change(self.entries, goes, comes, node)

    def sync(self) -> None:
        self.durable, self.pending = dict(self.entries), []


def apply_change(entries: dict[str, Any], goes: str | None, comes: str | None, node: Any) -> None:
    if goes is not None:
        entries.pop(goes, None)
    if comes is not None:
        entries[comes] = node


def overlay(data: bytes, offset: int, new: bytes) -> bytes:
    return (
        resize(data, max(offset, 0))[:offset] + new + data[offset + len(new) :]
        if offset > len(data)
        else (data[:offset] + new + data[offset + len(new) :])
    )


def resize(data: bytes, size: int) -> bytes:
    return data[:size] if len(data) >= size else data + bytes(size - len(data))


Hook = Callable[["FakeDisk", str, str], None]
"""(disk, operation, path): called within each change and before each fsync: the place to cut, or to fill the disk."""


class FakeDisk(Disk):
    """The agent's disk. Nothing of it is on a real one."""

    def __init__(self, root: Folder | None = None, ignore: frozenset[Site] = frozenset()) -> None:
        self.root = root if root is not None else Folder()
        self.ignore = ignore
        """Sites whose fsync does nothing: the mutation test."""
        self.hook: Hook | None = None
        self.operations = 0

    # --- what a cut leaves

    def survivor(self, fate: "Fate") -> "FakeDisk":
        """Return the disk after a cut."""
        return FakeDisk(settle(self.root, fate), self.ignore)

    def killed(self) -> "FakeDisk":
        """Return the disk after the agent alone was killed: all is there, and what was not fsynced still is not."""
        return FakeDisk(duplicate(self.root), self.ignore)

    def _happened(self, operation: str, path: object) -> None:
        self.operations += 1
        if self.hook is not None:
            self.hook(self, operation, str(path))

    # --- the file layer

    def _find(self, path: Path) -> Any:
        node: Any = self.root
        for part in path.parts[1:]:
            if not isinstance(node, Folder) or part not in node.entries:
                raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
            node = node.entries[part]
        return node

    def file(self, path: Path) -> File:
        node = self._find(path)
        if not isinstance(node, File):
            raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
        return node

    def folder(self, path: Path) -> Folder:
        node = self._find(path)
        if not isinstance(node, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(path))
        return node

    def read(self, path: Path) -> bytes:
        return self.file(path).data

    @contextlib.contextmanager
    def mapped(self, path: Path) -> Iterator[memoryview]:
        yield memoryview(self.file(path).data)

    def pieces(self, path: Path, size: int = 256) -> Iterator[bytes]:
        data = self.file(path).data
        return (data[at : at + size] for at in range(0, len(data), size))

    def open(self, path: Path) -> File:
        """Return the file, made when it is not there."""
        folder = self.folder(path.parent)
        if path.name not in folder.entries:
            folder.change(None, path.name, File())
            self._happened("create", path)
        return self.file(path)

    def write(self, path: Path, data: bytes, mode: int = 0o640) -> None:
        self._full("write", path)
        file = self.open(path)
        if file.data:
            file.truncate(0)
        if data:
            file.write(0, data)
        self._happened("write", path)

    def append(self, path: Path, data: bytes) -> None:
        self._full("append", path)
        file = self.file(path)
        file.write(len(file.data), data)
        self._happened("append", path)

    full: Callable[[str, Path], bool] | None = None
    """Whether an operation finds the disk full."""

    def _full(self, operation: str, path: Path) -> None:
        if self.full is not None and self.full(operation, path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    def chmod(self, path: Path, mode: int) -> None:
        self.file(path)

    def fsync(self, path: Path, site: Site) -> None:
        self._happened(f"fsync {site}", path)
        if site not in self.ignore:
            self.file(path).sync()

    def fsync_folder(self, path: Path, site: Site) -> None:
        self._happened(f"fsync {site}", path)
        if site not in self.ignore:
            self.folder(path).sync()

    def rename(self, old: Path, new: Path) -> None:
        assert old.parent == new.parent, "a rename between folders is two changes; the agent must not need one"
        self._full("rename", old)
        self.folder(old.parent).change(old.name, new.name, self._find(old))
        self._happened("rename", new)

    def unlink(self, path: Path) -> None:
        try:
            self.file(path)
        except OSError:
            return
        self.folder(path.parent).change(path.name, None, None)
        self._happened("unlink", path)

    def mkdir(self, path: Path) -> bool:
        folder = self.folder(path.parent)
        if path.name in folder.entries:
            return False
        self._full("mkdir", path)
        folder.change(None, path.name, Folder())
        self._happened("mkdir", path)
        return True

    def remove_tree(self, path: Path) -> None:
        try:
            folder = self.folder(path)
        except OSError:
            return
        for name, node in list(folder.entries.items()):
            if isinstance(node, Folder):
                self.remove_tree(path / name)
            else:
                self.unlink(path / name)
        self.folder(path.parent).change(path.name, None, None)
        self._happened("rmdir", path)

    def list(self, path: Path) -> list[str]:
        try:
            return sorted(self.folder(path).entries)
        except OSError:
            return []

    def size(self, path: Path) -> int | None:
        try:
            return len(self.file(path).data)
        except OSError:
            return None


@dataclass(frozen=True)
class Fate:
    """What a cut does to changes that were not fsynced: each is lost with this chance, a surviving write torn with that."""

    name: str
    lost: float
    torn: float = 0.0
    seed: int = 0

    def dice(self) -> random.Random:
        return random.Random(self.seed)


NOTHING_LOST = Fate("nothing lost", 0.0)
ALL_LOST = Fate("all lost", 1.0)


def some_lost(seed: int) -> Fate:
    """Return a fate that loses about half, and tears some of the rest."""
    return Fate(f"some lost ({seed})", 0.5, 0.3, seed)


def settle(root: Folder, fate: Fate) -> Folder:
    """Return the tree that is on the disk after a cut."""
    dice = fate.dice()

    def file(node: File) -> File:
        data = node.durable
        for kind, at, new in node.pending:
            if dice.random() < fate.lost:
                continue
            if kind == "truncate":
                data = resize(data, at)
            else:
                data = overlay(data, at, new[: dice.randrange(len(new) + 1)] if dice.random() < fate.torn else new)
        return File(data, data)

    def folder(node: Folder) -> Folder:
        entries = dict(node.durable)
        for change in node.pending:
            if dice.random() >= fate.lost:
                apply_change(entries, *change)
        after = {name: folder(one) if isinstance(one, Folder) else file(one) for name, one in entries.items()}
        return Folder(after, dict(after))

    return folder(root)


def duplicate(root: Folder) -> Folder:
    """Return a copy of a tree with everything that is pending."""
    copies: dict[int, Any] = {}

    def copy(node: Any) -> Any:
        if id(node) not in copies:
            if isinstance(node, File):
                copies[id(node)] = File(node.data, node.durable, list(node.pending))
            else:
                new = copies[id(node)] = Folder()
                new.entries = {name: copy(one) for name, one in node.entries.items()}
                new.durable = {name: copy(one) for name, one in node.durable.items()}
                new.pending = [
                    (goes, comes, copy(one) if one is not None else None) for goes, comes, one in node.pending
                ]
        return copies[id(node)]

    made: Folder = copy(root)
    return made


# --- SQLite on this disk


class FakeVfs(apsw.VFS):
    """SQLite's files on a FakeDisk: what SQLite syncs is synced, and nothing else."""

    def __init__(self, disk: FakeDisk, name: str) -> None:
        super().__init__(name, "")
        self.disk = disk

    def xOpen(self, name: Any, flags: list[int]) -> "FakeVfsFile":  # type: ignore[override]
        flags[1] = flags[0]
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name)
        is_new = self.disk.size(path) is None
        self.disk.open(path)
        return FakeVfsFile(self.disk, path, is_new)

    def xAccess(self, path: str, flags: int) -> bool:
        return self.disk.size(Path(path)) is not None

    def xDelete(self, path: str, sync_folder: bool) -> None:
        self.disk.unlink(Path(path))
        if sync_folder:
            self.disk.fsync_folder(Path(path).parent, "outbox")

    def xFullPathname(self, path: str) -> str:
        return path


class FakeVfsFile:
    """One open file of SQLite."""

    def __init__(self, disk: FakeDisk, path: Path, is_new: bool) -> None:
        self.disk, self.path, self.is_new, self.level = disk, path, is_new, 0

    def xRead(self, amount: int, offset: int) -> bytes:
        return self.disk.read(self.path)[offset : offset + amount]

    def xWrite(self, data: bytes, offset: int) -> None:
        try:
            self.disk._full("sqlite write", self.path)
        except OSError as error:
            raise apsw.FullError("database or disk is full") from error
        self.disk.file(self.path).write(offset, bytes(data))
        self.disk._happened("sqlite write", self.path)

    def xTruncate(self, size: int) -> None:
        self.disk.file(self.path).truncate(size)
        self.disk._happened("sqlite truncate", self.path)

    def xSync(self, flags: int) -> None:
        """As SQLite's own layer for Unix: the first sync of a new file syncs its folder too."""
        self.disk.fsync(self.path, "outbox")
        if self.is_new:
            self.disk.fsync_folder(self.path.parent, "outbox")
            self.is_new = False

    def xFileSize(self) -> int:
        return len(self.disk.read(self.path))

    def xLock(self, level: int) -> None:
        self.level = level

    def xUnlock(self, level: int) -> None:
        self.level = level

    def xCheckReservedLock(self) -> bool:
        return self.level >= 2

    def xFileControl(self, op: int, pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return 512

    def xDeviceCharacteristics(self) -> int:
        return 0

    def xClose(self) -> None:
        pass


_names = iter(range(10**9))


class FakeConnection:
    """An apsw connection that takes its file system with it when it goes."""

    def __init__(self, disk: FakeDisk, path: Path) -> None:
        name = f"fake-{next(_names)}"
        self.vfs = FakeVfs(disk, name)
        self.database = apsw.Connection(str(path), vfs=name)

    def execute(self, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        return self.database.execute(sql, parameters)

    def close(self) -> None:
        self.database.close()
        self.vfs.unregister()
