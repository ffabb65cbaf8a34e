"""A document on disk that is always the old or the new one, whole."""

from pathlib import Path

from .disk import Disk

TEMPORARY = ".tmp"
"""Files and folders whose name ends so are leftovers of a cut, and are removed at start."""


def write(disk: Disk, path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data`. When this returns, a cut cannot bring the old one back."""
    temporary = path.with_name(path.name + TEMPORARY)
    disk.write(temporary, data)
    disk.fsync(temporary, "fact-file")
    disk.rename(temporary, path)
    disk.fsync_folder(path.parent, "fact-folder")


def remove_temporaries(disk: Disk, folder: Path) -> None:
    """Remove what a cut left half done in `folder`."""
    for name in disk.list(folder):
        if name.endswith(TEMPORARY):
            disk.remove_tree(folder / name)
            disk.unlink(folder / name)
