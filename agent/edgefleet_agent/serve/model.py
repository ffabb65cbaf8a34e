"""Opening a model: every check on its bytes first, then the runtime, then whether it keeps the release's interface."""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import TensorSpec
from edgefleet_protocol.onnx_guard import guard

from ..seams import WorkerSpec
from ..tuning import Tuning
from .errors import CannotOpen
from .providers import shape_profile
from .runtime import Session, Setup, named


@dataclass(frozen=True)
class Model:
    """An open model, and what may be asked of it: the interface, narrowed where the file fixes a dimension."""

    session: Session
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def open_model(spec: WorkerSpec, tuning: Tuning | None = None) -> Model:
    """Return the model of `spec`; raise CannotOpen, with the reason, when it is not what was signed or cannot run here.

    tuning: how its session is set up, instead of as `spec` says.
    """
    _check_files(spec)
    setup = Setup(
        tuning=tuning or spec.tuning or Tuning(spec.threads),
        engines=spec.engines,
        build=spec.tune is not None,
        profile=shape_profile(spec.golden_inputs),
    )
    session = named(spec.runtime).open(spec.model_path, spec.provider, spec.threads, setup)
    return Model(
        session=session,
        inputs=_agree("input", spec.interface.inputs, session.inputs),
        outputs=_agree("output", spec.interface.outputs, session.outputs),
    )


def _check_files(spec: WorkerSpec) -> None:
    """Read the model's bytes once, through no link: their digest, and whether any runtime should be given them."""
    sizes: dict[str, int] = {}
    for entry in spec.model_path.parent.iterdir():
        info = entry.lstat()
        if stat.S_ISREG(info.st_mode):
            sizes[entry.name] = info.st_size
        elif not stat.S_ISDIR(info.st_mode):
            raise CannotOpen(f"{entry.name} beside the model is no regular file; a release holds nothing else")
    data = _read(spec.model_path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != spec.variant_sha256:
        raise CannotOpen(f"{spec.model_path.name} has the SHA-256 {digest} and the release says {spec.variant_sha256}")
    if spec.runtime == "onnxruntime":
        sizes.pop(spec.model_path.name, None)
        try:
            guard(data, sizes)
        except ProtocolError as error:
            raise CannotOpen(f"{spec.model_path.name} is not given to a runtime: {error}") from error


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise CannotOpen(f"{path.name} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _agree(kind: str, wanted: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    """Return `wanted` with the dimensions that the file fixes; raise CannotOpen where the two disagree."""
    by_name = {spec.name: spec for spec in found}
    if set(by_name) != {spec.name for spec in wanted}:
        raise CannotOpen(f"the model's {kind}s are {sorted(by_name)} and the interface has {[s.name for s in wanted]}")
    return tuple(_narrow(kind, spec, by_name[spec.name]) for spec in wanted)


def _narrow(kind: str, wanted: TensorSpec, found: TensorSpec) -> TensorSpec:
    fits = len(wanted.shape) == len(found.shape) and all(
        want == size or -1 in (want, size) for want, size in zip(wanted.shape, found.shape, strict=True)
    )
    if wanted.datatype != found.datatype or not fits:
        raise CannotOpen(
            f"the model's {kind} {found.name} is {found.datatype} {list(found.shape)} and the interface says "
            f"{wanted.datatype} {list(wanted.shape)}"
        )
    shape = tuple(size if want == -1 else want for want, size in zip(wanted.shape, found.shape, strict=True))
    return TensorSpec(name=wanted.name, datatype=wanted.datatype, shape=shape)
