"""Writing an identity so that a power cut at any point leaves the old one or the new one, whole.

A new identity is put together in `STATE/identity.new/` and takes its name by one rename. A renewal does so below
`identity/`: `next.new/` becomes `next/`, and, once it has connected, `taking/`, whose files then take the old ones' places.
"""

import contextlib
import os
import shutil
from pathlib import Path

from .identity import CERTIFICATE, FOLDER, KEY, NEXT, TAKING

MAKING = "identity.new"
NEXT_MAKING = "next.new"
SECRET, OPEN = 0o600, 0o640


def put(path: Path, data: bytes, mode: int = OPEN) -> None:
    """Make `path` hold `data`, whole and durable when this returns."""
    beside = path.with_name(f".{path.name}.tmp")
    beside.unlink(missing_ok=True)
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(data)
        file.flush()
        os.fsync(handle)
    rename(beside, path)


def rename(source: Path, target: Path) -> None:
    """Give a file or folder another name, durably."""
    source.replace(target)
    sync(target.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def folder(path: Path) -> Path:
    """Make a folder that its owner alone may enter, unless it is there; return it."""
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True)
        sync(path.parent)
    return path


def take_next(identity: Path) -> None:
    """Let the pair in `next/` be the pair from now on."""
    rename(identity / NEXT, identity / TAKING)
    settle(identity.parent)


def settle(state: Path) -> None:
    """Finish what a cut left half done: a renewal that was being taken over."""
    taking = state / FOLDER / TAKING
    if not taking.is_dir():
        return
    for name in (KEY, CERTIFICATE):
        if (taking / name).is_file():
            (taking / name).replace(state / FOLDER / name)
    sync(state / FOLDER)
    remove(taking)


def remove(path: Path) -> None:
    """Remove a file, or a folder and all in it, durably; nothing happens when there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        sync(path.parent)
