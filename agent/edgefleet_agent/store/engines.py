"""Engines: what an execution provider builds of a model on this device. Derived, never signed, and gone without harm.

They lie outside the slots, each in a folder named by all that it depends on (`serve.providers.engine_key`). A trial builds
beside that name; the name is given when the trial has passed, so an engine under its name is whole.
"""

from collections.abc import Iterable
from pathlib import Path

from . import durable
from .disk import Disk


class Engines:
    """The folder `engines`."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._folder = disk, folder
        durable.remove_temporaries(disk, folder)
        self._here = set(disk.list(folder))

    def __contains__(self, key: str) -> bool:
        return key in self._here

    def path(self, key: str) -> Path:
        """Return the folder of an engine."""
        return self._folder / key

    def begin(self, key: str) -> Path:
        """Return an empty folder to build the engine `key` in."""
        building = self._folder / (key + durable.TEMPORARY)
        self._disk.mkdir(self._folder)
        self._disk.remove_tree(building)
        self._disk.mkdir(building)
        return building

    def settle(self, key: str) -> None:
        """The trial that built it has passed: make it durable, then give it its name. A cut may lose it; it is built anew."""
        building = self._folder / (key + durable.TEMPORARY)
        for name in self._disk.list(building):
            self._disk.fsync(building / name, "slot-file")
        self._disk.fsync_folder(building, "slot-folder")
        self._disk.remove_tree(self._folder / key)
        self._disk.rename(building, self._folder / key)
        self._disk.fsync_folder(self._folder, "slot-name")
        self._here.add(key)

    def keep_only(self, keys: Iterable[str]) -> None:
        """Remove every other engine; what is being built stays."""
        for key in sorted(self._here - set(keys)):
            self._here.discard(key)
            self._disk.remove_tree(self._folder / key)
