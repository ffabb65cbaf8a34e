"""Slots: the files of one variant of one release, whole and verified, each in a folder of its own.

A slot is built beside its final place and renamed, so a slot that has its name is whole. Which slot serves is a fact
(`facts.ModelFacts.active`), changed by one rename; nothing here decides.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from edgefleet_protocol.errors import BadModel
from edgefleet_protocol.manifest import FileEntry, Release, Variant
from edgefleet_protocol.onnx_guard import guard

from ..errors import BadAssembly
from ..slots import slot_name
from . import durable
from .chunks import Chunks
from .disk import Disk

FILE_MODE = 0o440
"""Nobody writes to a file that a worker reads."""


class Releases:
    """The slots of every model."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._folder = disk, folder
        self._here: dict[str, set[str]] = {}
        for model in disk.list(folder):
            durable.remove_temporaries(disk, folder / model)
            # A slot that a killed agent renamed is here, and yet a cut could still take its name.
            disk.fsync_folder(folder / model, "slots-at-start")
            self._here[model] = set(disk.list(folder / model))

    def slots(self, model: str) -> frozenset[str]:
        """Return the names of the whole slots of a model."""
        return frozenset(self._here.get(model, ()))

    def path(self, model: str, slot: str) -> Path:
        """Return the folder of a slot."""
        return self._folder / model / slot

    def assemble(self, release: Release, release_sha256: str, variant: Variant, chunks: Chunks) -> str:
        """Build the slot of `variant` from chunks; return its name.

        Raises BadAssembly when a chunk is damaged (it was dropped, so that it is fetched again), when a whole file
        is not what the release says, or when no runtime should be given the model. Raises OSError for a full disk;
        what was built until then is removed.
        """
        slot = slot_name(release_sha256, variant.name)
        folder = self._folder / release.model
        self._disk.mkdir(folder)
        self._disk.fsync_folder(self._folder, "model-folder")
        building = folder / (slot + durable.TEMPORARY)
        self._disk.remove_tree(building)
        try:
            self._disk.mkdir(building)
            folders = {building}
            for entry in release.files_for(variant):
                folders |= self._make_folders(building, entry.name)
                self._join(building / entry.name, entry, chunks)
            check_model(self._disk, building, release, variant)
            for inner in sorted(folders):
                self._disk.fsync_folder(inner, "slot-folder")
            self._disk.remove_tree(folder / slot)
            self._disk.rename(building, folder / slot)
            self._disk.fsync_folder(folder, "slot-name")
        except (OSError, BadAssembly):
            self._disk.remove_tree(building)
            raise
        self._here.setdefault(release.model, set()).add(slot)
        return slot

    def _make_folders(self, building: Path, name: str) -> set[Path]:
        made, at = set(), building
        for part in name.split("/")[:-1]:
            at = at / part
            self._disk.mkdir(at)
            made.add(at)
        return made

    def _join(self, path: Path, entry: FileEntry, chunks: Chunks) -> None:
        """Write a file chunk by chunk, so that a large one is never in memory as a whole."""
        digest = hashlib.sha256()
        self._disk.write(path, b"", FILE_MODE | 0o200)
        for chunk in entry.chunks:
            piece = chunks.read(chunk)
            if piece is None:
                raise BadAssembly(f"chunk {chunk.sha256[:12]} of {entry.name} is damaged on disk; it is fetched again")
            digest.update(piece)
            self._disk.append(path, piece)
        if digest.hexdigest() != entry.sha256:
            raise BadAssembly(
                f"{entry.name} has the digest {digest.hexdigest()[:12]} and the release says {entry.sha256[:12]}"
            )
        self._disk.chmod(path, FILE_MODE)
        self._disk.fsync(path, "slot-file")

    def whole(self, release: Release, variant: Variant, slot: str) -> bool:
        """Return whether every file of a slot still has its digest: asked when a worker cannot load it."""
        for entry in release.files_for(variant):
            digest = hashlib.sha256()
            try:
                for piece in self._disk.pieces(self.path(release.model, slot) / entry.name):
                    digest.update(piece)
            except OSError:
                return False
            if digest.hexdigest() != entry.sha256:
                return False
        return True

    def remove(self, model: str, slot: str) -> None:
        """Remove a slot."""
        self._here.get(model, set()).discard(slot)
        self._disk.remove_tree(self.path(model, slot))

    def keep_only(self, model: str, slots: Iterable[str]) -> int:
        """Remove every other slot of a model; return how many went."""
        surplus = self.slots(model) - set(slots)
        for slot in sorted(surplus):
            self.remove(model, slot)
        return len(surplus)


def check_model(disk: Disk, folder: Path, release: Release, variant: Variant) -> None:
    """Raise BadAssembly when the model is one that no runtime should be given: said before any runtime sees it.

    The worker guards again before it opens the file. Here it is asked first, so that the reason is `verify` and not a trial
    that died, and by the pages beside the tensors only: the file was written a moment ago and a large one never is in the
    agent's memory.
    """
    if variant.runtime != "onnxruntime":
        return
    beside = {name.rsplit("/", 1)[-1]: release.file(name).bytes for name in variant.files[1:]}
    try:
        with disk.mapped(folder / variant.files[0]) as model:
            guard(model, beside)
    except BadModel as error:
        raise BadAssembly(f"{variant.files[0]} must not be opened: {error}") from error
