"""A package folder such as `edgefleet compress` writes, made in milliseconds from tiny models."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgefleet_protocol import codec
from edgefleet_protocol.chunks import cut_file
from edgefleet_protocol.manifest import (
    Accuracy,
    FileEntry,
    Golden,
    InputSpec,
    Interface,
    LatencyRow,
    OutputSpec,
    Release,
    Requirement,
    TensorFile,
    Tolerance,
    Variant,
)
from edgefleet_protocol.release_check import check_release

from .tiny_model import (
    INPUT_NAME,
    INPUTS,
    IR_VERSION,
    OPSET,
    OUTPUT_NAME,
    OUTPUTS,
    answers,
    floats,
    samples,
    tiny_onnx,
)

GOLDEN_SAMPLES = 8
CHECK_SAMPLES = 64
LABELS = ("trouser", "pullover", "boot")
INPUT_FILE = "golden/input.f32"


def make_release(
    model: str = "fashion",
    variants: Sequence[str] = ("fp32", "int8"),
    *,
    version: int = 0,
    seed: int = 0,
    ballast: int = 0,
    requires: Mapping[str, Requirement] | None = None,
    latency: Mapping[str, Sequence[LatencyRow]] | None = None,
    minimum_agent: str = "0.1.0",
) -> tuple[Release, dict[str, bytes]]:
    """Return a release that is not cut, and the bytes of its files by name.

    Variant number i is the tiny model of seed `seed + i`, with accuracy 0.95, 0.94, … in order. `ballast` bytes are
    added to each model file. `requires` and `latency` are by variant.
    """
    files: dict[str, bytes] = {INPUT_FILE: floats(samples(seed, GOLDEN_SAMPLES))}
    rows = []
    for number, name in enumerate(variants):
        own = seed + number
        path, golden = f"{name}/model.onnx", f"golden/{name}.f32"
        files[path] = tiny_onnx(own, ballast=ballast)
        files[golden] = floats(answers(own, samples(seed, GOLDEN_SAMPLES)))
        rows.append(
            Variant(
                name=name,
                files=(path,),
                bytes=len(files[path]),
                golden=Golden(
                    outputs=(
                        TensorFile(name=OUTPUT_NAME, datatype="FP32", shape=(GOLDEN_SAMPLES, OUTPUTS), file=golden),
                    ),
                    tolerances=(Tolerance(provider="CPUExecutionProvider", max_abs=1e-4),),
                ),
                accuracy=Accuracy(metric="top-1", value=round(0.95 - number / 100, 4), samples=CHECK_SAMPLES),
                requires=(requires or {}).get(name)
                or Requirement(ir=IR_VERSION, opset=OPSET, memory_bytes=600_000_000, load_s=60.0),
                latency=tuple((latency or {}).get(name, ())),
                recipe=f"tiny, seed {own}",
            )
        )
    release = Release(
        model=model,
        version=version,
        minimum_agent=minimum_agent,
        interface=Interface(
            task="classification",
            inputs=(InputSpec(name=INPUT_NAME, datatype="FP32", shape=(-1, INPUTS)),),
            outputs=(OutputSpec(name=OUTPUT_NAME, datatype="FP32", shape=(-1, OUTPUTS), meaning="logits"),),
            labels=LABELS,
        ),
        golden_inputs=(TensorFile(name=INPUT_NAME, datatype="FP32", shape=(GOLDEN_SAMPLES, INPUTS), file=INPUT_FILE),),
        variants=tuple(rows),
        files=tuple(
            FileEntry(
                name=n,
                bytes=len(data),
                sha256=codec.sha256_hex(data),
                # Of a numbered release every file is cut, or no device could fetch it.
                chunks=tuple(chunk for chunk, _ in cut_file(n, data)) if version else (),
            )
            for n, data in files.items()
        ),
        original_accuracy=Accuracy(metric="top-1", value=0.96, samples=CHECK_SAMPLES),
    )
    check_release(release)
    return release, files


def make_package(
    folder: Path,
    model: str = "fashion",
    variants: Sequence[str] = ("fp32", "int8"),
    *,
    seed: int = 0,
    ballast: int = 0,
    requires: Mapping[str, Requirement] | None = None,
    latency: Mapping[str, Sequence[LatencyRow]] | None = None,
    minimum_agent: str = "0.1.0",
) -> Path:
    """Write the release that `make_release` makes as a package folder below `folder`; return the package's folder."""
    package = folder / f"package-{model}-{seed}"
    release, files = make_release(
        model,
        variants,
        seed=seed,
        ballast=ballast,
        requires=requires,
        latency=latency,
        minimum_agent=minimum_agent,
    )
    write_package(package, release, files)
    _check_folder(package / "check", variants, seed)
    return package


def write_package(package: Path, release: Release, files: Mapping[str, bytes]) -> None:
    """Write a package folder without its check folder, whatever it holds."""
    for name, data in files.items():
        _write(package / "files" / name, data)
    _write(package / "release.json", codec.encode(release))
    _write(package / "report.html", b"<!doctype html><title>tiny</title>\n")


def _check_folder(folder: Path, variants: Sequence[str], seed: int) -> None:
    inputs = samples(seed + 1000, CHECK_SAMPLES)
    outputs = {name: answers(seed + number, inputs) for number, name in enumerate(variants)}
    labels = [max(range(OUTPUTS), key=row.__getitem__) for row in outputs[variants[0]]]
    _write(folder / "inputs.f32", floats(inputs))
    about = {"samples": CHECK_SAMPLES, "shape": [CHECK_SAMPLES, INPUTS], "labels": labels}
    _write(folder / "check.json", json.dumps(about).encode())
    for name, rows in outputs.items():
        _write(folder / f"{name}.f32", floats(rows))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
