"""The one file layer: everything that the agent writes goes through a `Disk`.

Tests put a disk here that keeps aside what was not fsynced and loses any part of it in a cut. Nothing is durable by
being written; `SITES` lists every place that makes something durable, and what would be lost without it.
"""

import contextlib
import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Site = Literal[
    "fact-file",
    "fact-folder",
    "chunk-file",
    "chunk-folder",
    "slot-file",
    "slot-folder",
    "model-folder",
    "slot-name",
    "slots-at-start",
    "outbox",
]

SITES: dict[Site, str] = {
    "fact-file": "a document's bytes, before it takes the old one's name: else the name may lead to an empty file",
    "fact-folder": "the new name of a document: else an older one comes back after it was acted upon; in the state's own "
    "folder also the names of the folders beside it",
    "chunk-file": "a chunk's bytes: else it is fetched again after a cut",
    "chunk-folder": "the names of the chunks of this turn: else they are fetched again after a cut",
    "slot-file": "a file that a worker will open: else the active model may be empty after a cut",
    "slot-folder": "the names of the files in a slot",
    "model-folder": "the folder of a model's slots",
    "slot-name": "the final name of a slot, before a fact says that it is active",
    "slots-at-start": "the names of slots that an agent which was killed had given and not yet made durable",
    "outbox": "what SQLite syncs (synchronous=FULL): windows that were stored for later",
}


class Disk:
    """The real one. Raises OSError as the system does; a full disk is errno ENOSPC."""

    def read(self, path: Path) -> bytes:
        """Return the bytes of a regular file; a link is refused."""
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            return file.read()

    @contextlib.contextmanager
    def mapped(self, path: Path) -> Iterator[memoryview]:
        """Give the bytes of a regular file without reading it whole: only the pages that are looked at.

        Not for files that may be damaged: a page that the card cannot read ends the process, where `read` raises.
        """
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb"):
            if os.fstat(handle).st_size == 0:
                yield memoryview(b"")
                return
            pages = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
        try:
            yield memoryview(pages)
        finally:
            with contextlib.suppress(BufferError):  # an error on its way out still holds a view; it goes with it
                pages.close()

    def pieces(self, path: Path, size: int = 1 << 20) -> Iterator[bytes]:
        """Give the bytes of a regular file piece by piece."""
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            while piece := file.read(size):
                yield piece

    def write(self, path: Path, data: bytes, mode: int = 0o640) -> None:
        """Make or empty the file and write `data`. Not durable before `fsync` and `fsync_folder`."""
        self._put(path, data, os.O_CREAT | os.O_TRUNC, mode)

    def append(self, path: Path, data: bytes) -> None:
        """Write `data` at the end of a file that is there."""
        self._put(path, data, os.O_APPEND, 0)

    def _put(self, path: Path, data: bytes, flags: int, mode: int) -> None:
        handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
        finally:
            os.close(handle)

    def chmod(self, path: Path, mode: int) -> None:
        """Set the file's mode; made durable by the file's `fsync`."""
        path.chmod(mode)

    def fsync(self, path: Path, site: Site) -> None:
        """Make the file's bytes durable. Linux flushes the inode, whichever descriptor asks."""
        self._sync(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def fsync_folder(self, path: Path, site: Site) -> None:
        """Make the names in a folder durable."""
        self._sync(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _sync(self, path: Path, flags: int) -> None:
        handle = os.open(path, flags)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder another name in the same folder; a file of that name is replaced."""
        old.replace(new)

    def unlink(self, path: Path) -> None:
        """Remove a file; nothing happens when there is none."""
        path.unlink(missing_ok=True)

    def mkdir(self, path: Path) -> bool:
        """Make a folder; return whether it was not there before."""
        try:
            path.mkdir()
        except FileExistsError:
            return False
        return True

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and all in it; nothing happens when there is none."""
        shutil.rmtree(path, ignore_errors=True)

    def list(self, path: Path) -> list[str]:
        """Return the names in a folder, sorted; none when it is not there."""
        try:
            return sorted(entry.name for entry in path.iterdir())
        except FileNotFoundError:
            return []

    def size(self, path: Path) -> int | None:
        """Return the size of a regular file in bytes, or None when there is none."""
        try:
            return path.lstat().st_size if path.is_file() and not path.is_symlink() else None
        except OSError:
            return None
