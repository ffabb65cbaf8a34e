"""`edgefleet agent dev FOLDER`: serve what lies in a folder, for the application's developer. No broker, no keys.

What is there is not verified against anybody's signature, so this is never how a device serves: nothing is stored, and
all that it makes is the run folder, which goes with it when it is not named.
"""

import hashlib
import json
import math
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from edgefleet_protocol.codec import decode
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import (
    DATATYPE_BYTES,
    Golden,
    InputSpec,
    Interface,
    OutputSpec,
    Release,
    TensorFile,
    Tolerance,
)

from ..seams import Worker, WorkerSpec
from .errors import ServeError
from .launcher import ProcessLauncher
from .sockets import Access

PROVIDER = "CPUExecutionProvider"
LOOK_S = 0.2


class CannotServe(ServeError):
    """A folder that holds nothing to serve, or something that cannot be."""


@dataclass(frozen=True)
class Options:
    """What to serve, and how."""

    folder: Path
    run: Path | None = None
    """None: a folder of its own, removed at the end."""
    variant: str | None = None
    port: int = 0
    threads: int = 1
    shared_memory: bool = False


def serve(options: Options) -> int:
    """Serve until SIGTERM or Ctrl-C and return 0; 1 when a model dies. Raises CannotServe."""
    with tempfile.TemporaryDirectory(prefix="edgefleet-dev-") as made:
        run = options.run or Path(made) / "run"
        specs = list(find(options, Path(made)))
        access = Access(gateway_port=options.port, shared_memory=options.shared_memory)
        launcher = ProcessLauncher(run.absolute(), access=access)
        stop = threading.Event()

        def end(_signal: int, _frame: FrameType | None) -> None:
            stop.set()

        before = [(number, signal.signal(number, end)) for number in (signal.SIGTERM, signal.SIGINT)]
        try:
            return _watch(launcher, [(spec, launcher.start(spec)) for spec in specs], stop)
        finally:
            launcher.close()
            for number, handler in before:
                signal.signal(number, handler)


def _watch(launcher: ProcessLauncher, workers: list[tuple[WorkerSpec, Worker]], stop: threading.Event) -> int:
    waiting = {spec.model for spec, _ in workers}
    while not stop.wait(LOOK_S if waiting else 1.0):
        for spec, worker in workers:
            state = worker.poll()
            if state == "dead":
                print(f"edgefleet agent dev: {spec.model}: {worker.why_dead()}", file=sys.stderr)
                return 1
            if state == "ready" and spec.model in waiting:
                waiting.discard(spec.model)
                worker.accept()
                print(_words(launcher, spec), flush=True)
    return 0


def _words(launcher: ProcessLauncher, spec: WorkerSpec) -> str:
    takes = ", ".join(f"{row.name} {row.datatype} {list(row.shape)}" for row in spec.interface.inputs)
    return (
        f"{spec.model} ({spec.variant}) takes {takes}\n"
        f"  Python   Model({spec.model!r}, socket={str(launcher.socket_path(spec.model))!r})\n"
        f"  REST     http://127.0.0.1:{launcher.front.port}/v2/models/{spec.model}"
    )


def find(options: Options, scratch: Path) -> Iterator[WorkerSpec]:
    """Yield what is to be served: of a package one variant, of other folders each ONNX file. Raises CannotServe."""
    folder = options.folder.absolute()
    if (folder / "release.json").is_file():
        yield _of_package(folder, options)
        return
    files = [folder] if folder.suffix == ".onnx" else sorted(folder.glob("*.onnx"))
    if not files or not all(file.is_file() for file in files):
        raise CannotServe(f"{folder} holds neither a release.json, as edgefleet compress makes it, nor an ONNX file")
    for file in files:
        yield _of_file(file, options, scratch)


def _of_package(folder: Path, options: Options) -> WorkerSpec:
    try:
        release = decode((folder / "release.json").read_bytes(), Release)
    except (OSError, ProtocolError) as error:
        raise CannotServe(f"{folder / 'release.json'} cannot be read: {error}") from error
    names = [variant.name for variant in release.variants]
    variant = release.variant(options.variant) if options.variant else release.variants[0]
    if variant is None:
        raise CannotServe(f"{release.model} has no variant {options.variant!r}; it has {', '.join(names)}")
    return WorkerSpec(
        model=release.model,
        release=f"{release.model}/{release.version or 1}",
        release_sha256=_digest(folder / "release.json"),
        variant=variant.name,
        variant_sha256=release.file(variant.files[0]).sha256,
        runtime=variant.runtime,
        provider=PROVIDER,
        model_path=folder / "files" / variant.files[0],
        interface=release.interface,
        memory_limit_bytes=None,
        cpu_limit_s=None,
        golden_folder=folder / "files",
        golden_inputs=release.golden_inputs,
        golden=variant.golden,
        threads=options.threads,
    )


def _of_file(file: Path, options: Options, scratch: Path) -> WorkerSpec:
    """What a bare file says of itself; a sidecar `<stem>.json` with an interface says the rest."""
    name = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:64] or "model"
    interface = _interface(file)
    samples = scratch / name
    (samples / "model").mkdir(parents=True)
    # A worker looks at all that lies beside its model, and a developer's folder holds many things.
    beside = samples / "model" / file.name
    for part in (file, *file.parent.glob(f"{file.name}*data*")):
        (beside.parent / part.name).write_bytes(part.read_bytes())
    inputs = []
    for number, row in enumerate(interface.inputs):
        shape = tuple(1 if size < 0 else size for size in row.shape)
        (samples / f"{number}.bin").write_bytes(bytes(math.prod(shape) * DATATYPE_BYTES[row.datatype]))
        inputs.append(TensorFile(name=row.name, datatype=row.datatype, shape=shape, file=f"{number}.bin"))
    digest = _digest(file)
    return WorkerSpec(
        model=name,
        release=f"{name}/1",
        release_sha256=digest,
        variant=file.stem,
        variant_sha256=digest,
        runtime="onnxruntime",
        provider=PROVIDER,
        model_path=beside,
        interface=interface,
        memory_limit_bytes=None,
        cpu_limit_s=None,
        golden_folder=samples,
        golden_inputs=tuple(inputs),
        golden=Golden(outputs=tuple(inputs[:1]), tolerances=(Tolerance(provider=PROVIDER, max_abs=0.0),)),
        threads=options.threads,
    )


def _interface(file: Path) -> Interface:
    sidecar = file.with_suffix(".json")
    if sidecar.is_file():
        try:
            return msgspec.json.decode(sidecar.read_bytes(), type=Interface)
        except msgspec.MsgspecError as error:
            raise CannotServe(f"{sidecar} is no interface of a release: {error}") from error
    # Only a worker imports a runtime.
    done = subprocess.run(
        [sys.executable, "-I", "-m", "edgefleet_agent.serve.describe", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise CannotServe(f"{file.name}: {said[-1] if said else 'the runtime ended without a word'}")
    found: dict[str, Any] = json.loads(done.stdout)
    return Interface(
        task="other",
        inputs=tuple(msgspec.convert(row, InputSpec) for row in found["inputs"]),
        outputs=tuple(msgspec.convert(row, OutputSpec) for row in found["outputs"]),
    )


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CannotServe(f"{path} cannot be read: {error.strerror}") from error
