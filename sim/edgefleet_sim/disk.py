"""A device's disk as a dictionary. What every device of a fleet holds alike is held once in the process.

It is never full and loses nothing in a cut: what a cut does to an unfinished write is shown on the agent's own crash tests.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgefleet_agent.store.disk import Disk, Site

SHARED_FOLDERS = ("chunks", "documents", "slots")

_shared: dict[bytes, bytes] = {}


class MemoryDisk(Disk):
    """Implements the agent's `Disk`."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}
        self._folders: set[str] = {"/"}

    def copy(self) -> "MemoryDisk":
        """Return the disk of a clone."""
        other = MemoryDisk()
        other._files, other._folders = dict(self._files), set(self._folders)
        return other

    def read(self, path: Path) -> bytes:
        """Return the bytes of a file."""
        try:
            return self._files[str(path)]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory", str(path)) from None

    @contextlib.contextmanager
    def mapped(self, path: Path) -> Iterator[memoryview]:
        """Give the bytes of a file."""
        yield memoryview(self.read(path))

    def pieces(self, path: Path, size: int = 1 << 20) -> Iterator[bytes]:
        """Give the bytes of a file in one piece."""
        yield self.read(path)

    def write(self, path: Path, data: bytes, mode: int = 0o640) -> None:
        """Make or replace a file."""
        self._files[str(path)] = _once(path, bytes(data))

    def append(self, path: Path, data: bytes) -> None:
        """Write at the end of a file."""
        self._files[str(path)] = _once(path, self.read(path) + data)

    def chmod(self, path: Path, mode: int) -> None:
        """Nobody else reads this disk."""

    def fsync(self, path: Path, site: Site) -> None:
        """Everything is durable."""

    def fsync_folder(self, path: Path, site: Site) -> None:
        """Everything is durable."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or a folder another name."""
        before, after = str(old), str(new)
        if before in self._files:
            self._files[after] = self._files.pop(before)
            return
        if before not in self._folders:
            raise FileNotFoundError(2, "No such file or directory", before)
        for name in [name for name in self._files if name.startswith(before + "/")]:
            self._files[after + name[len(before) :]] = self._files.pop(name)
        moved = {name for name in self._folders if name == before or name.startswith(before + "/")}
        self._folders = (self._folders - moved) | {after + name[len(before) :] for name in moved}

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        self._files.pop(str(path), None)

    def mkdir(self, path: Path) -> bool:
        """Make a folder; return whether it was not there before."""
        name = str(path)
        fresh = name not in self._folders
        self._folders.add(name)
        return fresh

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and all in it."""
        name = str(path)
        for file in [file for file in self._files if file.startswith(name + "/")]:
            del self._files[file]
        self._folders = {row for row in self._folders if row != name and not row.startswith(name + "/")}

    def list(self, path: Path) -> list[str]:
        """Return the names in a folder, sorted."""
        start = str(path) + "/"
        every = (*self._files, *self._folders)
        return sorted({name[len(start) :].partition("/")[0] for name in every if name.startswith(start)})

    def size(self, path: Path) -> int | None:
        """Return the size of a file in bytes, or None when there is none."""
        data = self._files.get(str(path))
        return None if data is None else len(data)


def _once(path: Path, data: bytes) -> bytes:
    """Return the one copy of bytes that many devices hold."""
    return _shared.setdefault(data, data) if any(name in path.parts for name in SHARED_FOLDERS) else data
