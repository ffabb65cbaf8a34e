"""Marks of an `init` that is at work, so that an interrupted one can simply be run again and nothing real is removed.

Both folders carry the mark and name each other; the repository's timestamp.json comes before either mark goes. So what
lies between two matching marks without a timestamp.json was never used by anybody.
"""

import shutil
from pathlib import Path

from .current import METADATA
from .files import PRIVATE, Disk, make_folder

MARK = ".unfinished"


def left_by_init(repository: Path, keys: Path) -> bool:
    """Return whether `repository` and `keys` are what an interrupted init left, and never were in use."""
    if (repository / METADATA / "timestamp.json").exists():
        return False
    pairs = ((repository, keys), (keys, repository))
    # The first mark may be alone, or half written: then the other folder is still empty.
    return all(_says(folder, other) or _holds_nothing(folder) for folder, other in pairs)


def only_the_marks_are_left(repository: Path, keys: Path) -> bool:
    """Return whether an init was interrupted after all was made, and before it said so."""
    return (repository / METADATA / "timestamp.json").exists() and _says(repository, keys)


def begin(repository: Path, keys: Path, disk: Disk) -> None:
    """Make both folders, or clear what an interrupted init left in them, and mark them."""
    for folder, other, mode in ((repository, keys, 0o755), (keys, repository, 0o700)):
        if left_by_init(repository, keys) and folder.is_dir():
            for path in folder.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != MARK:
                    path.unlink()
        else:
            make_folder(folder, mode)
        folder.chmod(mode)
        disk.put(folder / MARK, _line(other), PRIVATE)


def end(repository: Path, keys: Path, disk: Disk) -> None:
    """Take the marks away: what lies there is in use from now on."""
    for folder in (keys, repository):
        disk.remove(folder / MARK)
        disk.sync(folder)


def _line(other: Path) -> bytes:
    return str(other.resolve()).encode() + b"\n"


def _holds_nothing(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and all(path.name == f".{MARK}.new" for path in folder.iterdir()))


def _says(folder: Path, other: Path) -> bool:
    try:
        return (folder / MARK).read_bytes() == _line(other)
    except OSError:
        return False
