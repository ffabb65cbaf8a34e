"""Writing the package folder, and reading one back.

DIR/release.json, DIR/files/…, DIR/check/… and DIR/report.html. It is written beside its place and renamed, so a
package is whole or not there.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx

from edgefleet_protocol.codec import decode, encode, sha256_hex
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import (
    Accuracy,
    FileEntry,
    Golden,
    Release,
    Requirement,
    TensorFile,
    TensorSpec,
    Variant,
)
from edgefleet_protocol.onnx_guard import guard
from edgefleet_protocol.release_check import check_release

from ..errors import PackageError
from ..pipeline import Made, Outcome
from ..recipe import ORIGINAL
from ..runtime import Array
from ..targets import latency_table
from ..workload import Workload
from .golden import GoldenAnswers, check_rows, golden_answers, golden_rows

SUFFIX = {"FP32": "f32", "FP16": "f16", "UINT8": "u8", "INT8": "i8", "INT32": "i32", "INT64": "i64", "FP64": "f64"}


@dataclass
class Contents:
    """A package before it is written: everything below `files/`, and what lies beside."""

    files: dict[str, bytes] = field(default_factory=dict)
    beside: dict[str, bytes] = field(default_factory=dict)

    def tensor(self, name: str, stem: str, values: Array, datatype: str) -> TensorFile:
        """Add `values` as a raw little-endian file and return its description."""
        file = f"{stem}.{SUFFIX.get(datatype, 'bin')}"
        self.files[file] = _raw(values)
        return TensorFile(name=name, datatype=datatype, shape=values.shape, file=file)  # type: ignore[arg-type]

    def entries(self) -> tuple[FileEntry, ...]:
        """Return the release's list of files."""
        return tuple(
            FileEntry(name=name, bytes=len(data), sha256=sha256_hex(data)) for name, data in self.files.items()
        )


@dataclass(frozen=True)
class Packed:
    """A release, its contents, and each variant's golden answers."""

    release: Release
    contents: Contents
    golden: Mapping[str, GoldenAnswers]


def pack(workload: Workload, outcome: Outcome, notes: str) -> Packed:
    """Return the release of everything that was made; raise PackageError when a device would refuse it."""
    contents = Contents()
    golden_inputs = workload.test.inputs[golden_rows(workload)].numpy()
    rows = check_rows(workload)
    check_inputs = workload.test.inputs[rows].numpy()
    inputs = contents.tensor(
        workload.input.name, f"golden/{workload.input.name}", golden_inputs, workload.input.datatype
    )
    _check_files(contents, check_inputs, workload.test.targets[rows].numpy())
    answers = {}
    variants = []
    for made in outcome.made:
        data = made.candidate.onnx_bytes("package")
        answered = answers[made.name] = golden_answers(data, golden_inputs, check_inputs, made.provider)
        variants.append(_variant(contents, workload, made, data, answered))
        contents.beside[f"check/{made.name}.f32"] = _raw(answered.check.astype(np.float32))
    original = next(variant for variant in variants if variant.name == ORIGINAL)
    release = Release(
        model=workload.name,
        version=0,
        created=datetime.now(UTC).replace(microsecond=0),
        interface=workload.interface,
        golden_inputs=(inputs,),
        variants=tuple(variants),
        files=contents.entries(),
        original_accuracy=original.accuracy,
        notes=notes,
    )
    # Through the bytes and back: names, ranges and sizes are checked while decoding.
    verify(encode(release), contents.files)
    return Packed(release, contents, answers)


def verify(document: bytes, files: Mapping[str, bytes]) -> Release:
    """Return the release in `document`; raise PackageError unless it and its files would be taken by a device."""
    try:
        release = decode(document, Release)
        check_release(release)
        for entry in release.files:
            if entry.name not in files:
                raise PackageError(f"the release lists {entry.name}, and there is no such file")
            if sha256_hex(files[entry.name]) != entry.sha256:
                raise PackageError(
                    f"{entry.name} has the digest {sha256_hex(files[entry.name])[:12]}, not {entry.sha256[:12]}"
                )
        for variant in release.variants:
            seen = guard(files[variant.files[0]])
            said = (variant.requires.ir, variant.requires.opset)
            if (seen.ir_version, seen.opset) != said:
                raise PackageError(
                    f"{variant.name} has IR {seen.ir_version} and opset {seen.opset}; the release says {said}"
                )
    except ProtocolError as error:
        raise PackageError(f"a device would refuse this package: {error}") from error
    return release


def check_place(out: Path) -> None:
    """Raise PackageError when `out` holds what is no package: nobody's work is overwritten."""
    if out.exists() and not (out / "release.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise PackageError(f"{out} is there and is no package; name another folder, or remove it")


def write(out: Path, document: bytes, contents: Contents) -> None:
    """Write the folder `out`, in the place of an older package if one is there."""
    check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        beside.chmod(0o755)
        everything = {f"files/{name}": data for name, data in contents.files.items()} | contents.beside
        for name, data in (everything | {"release.json": document}).items():
            place = beside / name
            place.parent.mkdir(parents=True, exist_ok=True)
            with place.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if out.exists():
            shutil.rmtree(out)
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def read(folder: Path) -> tuple[Release, Contents]:
    """Return a package's release and all of its files; raise PackageError when it is none, or was altered."""
    try:
        document = (folder / "release.json").read_bytes()
    except OSError as error:
        raise PackageError(f"{folder} is no package: {error.strerror} (release.json)") from error
    contents = Contents()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            if name.startswith("files/"):
                contents.files[name.removeprefix("files/")] = path.read_bytes()
            elif name != "release.json":
                contents.beside[name] = path.read_bytes()
    return verify(document, contents.files), contents


def _variant(contents: Contents, workload: Workload, made: Made, data: bytes, answered: GoldenAnswers) -> Variant:
    file = f"{made.name}/model.onnx"
    contents.files[file] = data
    _same_interface(made.name, data, (workload.input, workload.output))
    outputs = contents.tensor(
        workload.output.name, f"{made.name}/{workload.output.name}", answered.golden, workload.output.datatype
    )
    seen = guard(data)
    measures = made.measures
    requires = Requirement(
        features=made.features, provider=made.provider, ir=seen.ir_version, opset=seen.opset,
        memory_bytes=measures.memory_bytes,
    )  # fmt: skip
    return Variant(
        name=made.name,
        files=(file,),
        golden=Golden(outputs=(outputs,), tolerances=(answered.tolerance,)),
        accuracy=Accuracy(
            metric=workload.metric_name, value=measures.accuracy, samples=measures.samples, scored_as="arm"
        ),
        bytes=len(data),
        requires=requires,
        latency=latency_table(measures, requires),
        recipe=" + ".join(made.candidate.lineage),
    )


def _same_interface(name: str, data: bytes, specs: tuple[TensorSpec, TensorSpec]) -> None:
    graph = onnx.load_from_string(data).graph
    has = [value.name for value in (*graph.input, *graph.output)]
    if has != [spec.name for spec in specs]:
        raise PackageError(f"{name} has the tensors {has} and the interface {[spec.name for spec in specs]}")


def _check_files(contents: Contents, inputs: Array, labels: Array) -> None:
    contents.beside["check/inputs.f32"] = _raw(inputs.astype(np.float32))
    about = {"samples": len(inputs), "shape": list(inputs.shape), "labels": labels.tolist()}
    contents.beside["check/check.json"] = json.dumps(about).encode()


def _raw(values: Array) -> bytes:
    """Return the values row by row, little-endian on any machine."""
    return np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
