"""The work folder: what finished steps made, by the digest of all that went into it. A file is whole or not there."""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .candidate import Candidate
from .errors import CompressError


def key_of(*parts: str) -> str:
    """Return the digest that names the result of `parts`."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Work:
    """A folder of results. Whoever may write it may run code here, as with the workload file itself: keep it yours."""

    folder: Path

    def load(self, key: str) -> Candidate | None:
        """Return the candidate of `key`, or None when it is not there or not whole."""
        place = self.folder / key
        try:
            about = json.loads((place / "about.json").read_text())
            data = (place / about["file"]).read_bytes()
        except (OSError, ValueError, KeyError):
            return None
        if hashlib.sha256(data).hexdigest() != about["sha256"]:
            return None
        onnx = module = None
        if about["file"] == "model.onnx":
            onnx = data
        else:
            module = torch.load(io.BytesIO(data), weights_only=False)
        return Candidate(module=module, onnx=onnx, lineage=tuple(about["lineage"]), facts=about["facts"])

    def save(self, key: str, candidate: Candidate) -> None:
        """Keep the candidate of `key`."""
        if candidate.onnx is not None:
            name, data = "model.onnx", candidate.onnx
        else:
            name, data = "module.pt", _pickled(candidate)
        about = {
            "file": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "lineage": candidate.lineage,
            "facts": dict(candidate.facts),
        }
        self._put(key, {name: data, "about.json": json.dumps(about).encode()})

    def load_facts(self, key: str) -> dict[str, Any] | None:
        """Return the facts of `key`, such as measurements, or None."""
        try:
            facts: dict[str, Any] = json.loads((self.folder / key / "facts.json").read_text())
        except (OSError, ValueError):
            return None
        return facts

    def save_facts(self, key: str, facts: Mapping[str, Any]) -> None:
        """Keep the facts of `key`."""
        self._put(key, {"facts.json": json.dumps(facts).encode()})

    def epochs(self, key: str) -> "Epochs":
        """Return where the training inside the step of `key` is kept while it runs."""
        return Epochs(self.folder, key)

    def _put(self, key: str, files: Mapping[str, bytes]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix="unfinished-", dir=self.folder))
        try:
            for name, data in files.items():
                with (beside / name).open("wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            shutil.rmtree(self.folder / key, ignore_errors=True)
            beside.rename(self.folder / key)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise


@dataclass(frozen=True)
class Epochs:
    """The last epoch of each training of one step, which may train more than once, until the step is finished."""

    folder: Path
    key: str

    def load(self, training: str) -> dict[str, Any] | None:
        """Return the state of `training`, or None when it is not there or not whole."""
        try:
            state: dict[str, Any] = torch.load(self._place(training), weights_only=False)
        except Exception:  # whatever is wrong with it, the epochs can be trained again
            return None
        return state

    def save(self, training: str, state: Mapping[str, Any]) -> None:
        """Keep the state of `training` in the place of the one before."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix="unfinished-", dir=self.folder)
        beside = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._place(training))
        except BaseException:
            beside.unlink(missing_ok=True)
            raise

    def clear(self) -> None:
        """Forget them all: the step's own result is kept now."""
        for path in self.folder.glob(f"{self.key}-*.epoch"):
            path.unlink(missing_ok=True)

    def _place(self, training: str) -> Path:
        return self.folder / f"{self.key}-{training}.epoch"


def _pickled(candidate: Candidate) -> bytes:
    buffer = io.BytesIO()
    try:
        torch.save(candidate.module, buffer)
    except (AttributeError, TypeError) as error:
        raise CompressError(
            f"the model cannot be kept between steps: {error}. Define its classes and functions at the top of the "
            "workload file, not inside another function"
        ) from error
    return buffer.getvalue()
