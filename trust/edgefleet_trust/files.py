"""Writing so that a power cut leaves the old file or the new one, never half of either.

Every change of a repository, key or proposal goes through a `Disk`, so that tests can cut the power after each step.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import BreaksRule

PRIVATE = 0o600
PUBLIC = 0o644


class NotRegular(OSError):
    """A name that leads to a pipe, a device or a folder."""

    def __init__(self) -> None:
        super().__init__("it is no regular file")
        self.strerror = "it is no regular file"


def open_regular(path: Path, flags: int = 0) -> BinaryIO:
    """Return the file at `path`, open for reading; raise OSError, NotRegular at once for a pipe, which would be waited for.

    flags: of open(2), besides.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | flags), "rb")
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise NotRegular


class Disk:
    """The steps of a durable change, and the change made of them."""

    def write(self, path: Path, data: bytes, mode: int) -> None:
        """Write `data` to a new file and have it on the medium."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Put `source` in the place of `target`. Durable once the folder is synced."""
        source.replace(target)

    def sync(self, folder: Path) -> None:
        """Have the names in `folder` on the medium."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file that nothing refers to."""
        path.unlink(missing_ok=True)

    def put(self, path: Path, data: bytes, mode: int = PUBLIC) -> None:
        """Make `path` hold `data`, whole and durable when this returns."""
        self.put_all({path: data}, mode)

    def put_all(self, files: dict[Path, bytes], mode: int = PUBLIC) -> None:
        """Make each path hold its bytes; a folder is synced once, after its last file."""
        for path, data in files.items():
            beside = path.with_name(f".{path.name}.new")
            self.write(beside, data, mode)
            self.rename(beside, path)
        for folder in dict.fromkeys(path.parent for path in files):
            self.sync(folder)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the one right to change `folder`: server and command line may both want it."""
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, PRIVATE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_empty(folder: Path) -> None:
    """Raise BreaksRule unless `folder` is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is a file"
        raise BreaksRule(f"{folder} {what}: name a new folder, nothing here is overwritten")


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """Make a folder that must not hold anything yet; raise BreaksRule when it does."""
    check_empty(folder)
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    folder.chmod(mode)
