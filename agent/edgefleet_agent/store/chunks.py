"""Chunks that came, each a file named by its digest."""

from collections.abc import Iterable
from pathlib import Path

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.manifest import Chunk
from edgefleet_protocol.names import is_sha256

from . import durable
from .disk import Disk


class Chunks:
    """The chunk store. What is in it was verified when it came, and is verified again when it is put together."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._folder = disk, folder
        durable.remove_temporaries(disk, folder)
        self._here = {name for name in disk.list(folder) if is_sha256(name)}
        self._new = True  # an agent that was killed may have left names that a cut still takes

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._here

    def add(self, sha256: str, piece: bytes) -> None:
        """Keep a verified chunk. It survives a cut from the next `settle` on."""
        if sha256 in self._here:
            return
        temporary = self._folder / (sha256 + durable.TEMPORARY)
        self._disk.write(temporary, piece)
        self._disk.fsync(temporary, "chunk-file")
        self._disk.rename(temporary, self._folder / sha256)
        self._here.add(sha256)
        self._new = True

    def settle(self) -> None:
        """Make the names of what was added durable: once a turn, not once a chunk, for the sake of SD cards."""
        if self._new:
            self._disk.fsync_folder(self._folder, "chunk-folder")
            self._new = False

    def read(self, chunk: Chunk) -> bytes | None:
        """Return the chunk's bytes; None when they are not here or not what its name says, and then they are dropped."""
        if chunk.sha256 not in self._here:
            return None
        try:
            piece = self._disk.read(self._folder / chunk.sha256)
        except OSError:
            piece = b""
        if len(piece) == chunk.bytes and sha256_hex(piece) == chunk.sha256:
            return piece
        self._remove(chunk.sha256)
        return None

    def keep_only(self, wanted: Iterable[str]) -> int:
        """Remove every chunk that is not `wanted`; return how many went. A removal that a cut undoes is done again."""
        surplus = self._here - set(wanted)
        for sha256 in sorted(surplus):
            self._remove(sha256)
        return len(surplus)

    def _remove(self, sha256: str) -> None:
        self._here.discard(sha256)
        self._disk.unlink(self._folder / sha256)
