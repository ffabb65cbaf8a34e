"""A disk whose power is cut after a given number of steps, losing whatever was not synced yet."""

from pathlib import Path

from edgefleet_trust.files import Disk


class PowerCut(Exception):
    """The power is gone."""


class CuttingDisk(Disk):
    """Fails at step number `after` (counted from 0). A rename that its folder's sync did not follow is undone.

    torn: a file being written at the cut is left half there, under its temporary name.
    """

    def __init__(self, after: int, *, torn: bool = True) -> None:
        self._left, self._torn = after, torn
        self._unsynced: list[tuple[Path, bytes | None]] = []
        self.steps = 0

    def _step(self) -> None:
        if self._left == 0:
            for path, before in reversed(self._unsynced):
                if before is None:
                    path.unlink(missing_ok=True)
                else:
                    path.write_bytes(before)
            raise PowerCut
        self._left -= 1
        self.steps += 1

    def write(self, path: Path, data: bytes, mode: int) -> None:
        if self._left == 0 and self._torn:
            path.write_bytes(data[: len(data) // 2])
        self._step()
        super().write(path, data, mode)

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        self._unsynced.append((target, target.read_bytes() if target.exists() else None))
        super().rename(source, target)

    def sync(self, folder: Path) -> None:
        self._step()
        super().sync(folder)
        self._unsynced = [row for row in self._unsynced if row[0].parent != folder]

    def remove(self, path: Path) -> None:
        self._step()
        super().remove(path)
