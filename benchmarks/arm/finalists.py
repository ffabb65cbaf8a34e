"""A package's variants on emulated processors: the rows that they answer, and the instructions that an inference takes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from edgefleet_compress.package.variants import read
from edgefleet_protocol.manifest import Release, TensorFile, Variant

from .counter import MARK, Counter
from .emulated import Processor, python
from .places import LAB, LabError, say

CHILD = Path(__file__).with_name("child.py")
INFERENCES = 3
"""Counted between two marks, of which the mean is taken: repeats differ by about a thousandth."""
TYPES = {
    "FP32": "<f4", "FP16": "<f2", "FP64": "<f8", "UINT8": "u1", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "BOOL": "?",
}  # fmt: skip
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Package:
    """A folder that `edgefleet compress` made, its rows, and what its scorer answered to them under Arm's graph rules."""

    folder: Path
    release: Release
    rows: dict[str, Array]
    """By input: the golden rows, then those of check/ where the package has them."""
    scored: dict[str, dict[str, Array]]
    """By variant and output."""

    @property
    def runnable(self) -> list[Variant]:
        """Variants for a processor; those for a GPU are not tried here."""
        return [row for row in self.release.variants if row.requires.provider == "CPUExecutionProvider"]

    def model(self, variant: Variant) -> Path:
        """Return the file that the runtime opens."""
        return self.folder / "files" / variant.files[0]


@dataclass(frozen=True)
class Agreement:
    """How one variant's answers on an emulated processor stand to the scorer's."""

    rows: int
    identical: int
    max_difference: float
    allowed: float
    """By the release, of golden answers on a device."""

    @property
    def held(self) -> bool:
        """Whether a device of this kind would take the variant."""
        return self.max_difference <= self.allowed


def opened(folder: Path, limit: int) -> Package:
    """Return the package in `folder` with at most `limit` rows. Raises PackageError."""
    release, contents = read(folder)
    rows = {tensor.name: _tensor(contents.files, tensor) for tensor in release.golden_inputs}
    scored = {
        variant.name: {tensor.name: _tensor(contents.files, tensor) for tensor in variant.golden.outputs}
        for variant in release.variants
    }
    if "check/check.json" in contents.beside and len(rows) == 1:
        about = json.loads(contents.beside["check/check.json"])
        (name, golden), output = next(iter(rows.items())), release.interface.outputs[0].name
        more = np.frombuffer(contents.beside["check/inputs.f32"], "<f4").reshape(about["shape"])
        rows[name] = np.concatenate([golden, more.astype(golden.dtype)])
        for variant in release.variants:
            said = scored[variant.name][output]
            answers = np.frombuffer(contents.beside[f"check/{variant.name}.f32"], "<f4")
            further = answers.reshape(len(more), *said.shape[1:]).astype(said.dtype)
            scored[variant.name][output] = np.concatenate([said, further])
    return Package(
        folder.absolute(),
        release,
        {name: values[:limit] for name, values in rows.items()},
        {name: {key: values[:limit] for key, values in found.items()} for name, found in scored.items()},
    )


@dataclass(frozen=True)
class Seen:
    """What a run on an emulated processor said."""

    features: tuple[str, ...]
    runtime: str
    agreements: dict[str, Agreement]
    """By variant."""


def agreements(package: Package, processor: Processor, modules: Path) -> Seen:
    """Return how the rows agree, and with which runtime."""
    say(f"{package.release.model} on {processor.title}: {len(next(iter(package.rows.values())))} rows of each variant")
    with TemporaryDirectory(prefix="arm-lab-") as name:
        order = _order(package, Path(name))
        said = python(processor, [str(CHILD), str(order)], modules, log=LAB / "compress.log")
        about = _about(said, processor)
        found = {}
        for variant in package.runnable:
            answered = dict(np.load(Path(name) / f"{variant.name}.npz"))
            tolerance = variant.golden.tolerance(variant.requires.provider)
            allowed = tolerance.max_abs if tolerance else 0.0
            found[variant.name] = compared(package.scored[variant.name], answered, allowed)
    return Seen(tuple(about["features"]), about["onnxruntime"], found)


def compared(scored: dict[str, Array], answered: dict[str, Array], allowed: float) -> Agreement:
    """Return how two sets of rows agree, over all outputs together."""
    rows = len(next(iter(scored.values())))
    same = np.ones(rows, bool)
    apart = 0.0
    for name, want in scored.items():
        got = answered[name]
        if got.shape != want.shape:
            raise LabError(f"{name} has the shape {got.shape} in the emulator, and the package says {want.shape}")
        same &= (got == want).reshape(rows, -1).all(1)
        apart = max(apart, float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0)))
    return Agreement(rows, int(same.sum()), apart, allowed)


def instructions(
    package: Package, processor: Processor, modules: Path, counter: Counter
) -> dict[str, dict[str, float]]:
    """Return, by variant, how many instructions of each class one inference takes."""
    say(f"{package.release.model} on {processor.title}: counting {INFERENCES} inferences of each variant")
    with TemporaryDirectory(prefix="arm-lab-") as name:
        order, counted = _order(package, Path(name)), Path(name) / "counted"
        said = python(
            processor,
            [str(CHILD), str(order)],
            modules,
            emulator_file=counter.emulator,
            options=["-plugin", str(counter.plugin), "-d", "plugin", "-D", str(counted)],
            env={"COUNT": str(INFERENCES), "MARK": str(MARK)},
            log=LAB / "compress.log",
        )
        _about(said, processor)
        marks = [json.loads(line) for line in counted.read_text().splitlines()]
    if len(marks) != 2 * len(package.runnable):
        raise LabError(f"{len(marks)} marks came from the counter, and {2 * len(package.runnable)} were expected")
    pairs = zip(marks[::2], marks[1::2], strict=True)
    return {
        variant.name: {kind: (after[kind] - before[kind]) / INFERENCES for kind in after}
        for variant, (before, after) in zip(package.runnable, pairs, strict=True)
    }


def is_quantized(model: Path) -> bool:
    """Return whether the file computes with fewer bits anywhere."""
    return any("Quantize" in node.op_type or "Integer" in node.op_type for node in onnx.load(model).graph.node)


def float_of(variant: Variant, floats: Sequence[Variant]) -> Variant:
    """Return the float variant of the same network: the one whose recipe begins like `variant`'s for longest."""
    steps = variant.recipe.split(" + ")

    def common(other: Variant) -> int:
        theirs = other.recipe.split(" + ")
        alike = [mine == its for mine, its in zip(steps, theirs, strict=False)]
        return alike.index(False) if False in alike else len(alike)

    return max(floats, key=common)


def _order(package: Package, folder: Path) -> Path:
    np.savez(folder / "inputs.npz", **package.rows)  # type: ignore[arg-type]
    work = [
        {
            "name": variant.name,
            "model": str(package.model(variant)),
            "inputs": str(folder / "inputs.npz"),
            "outputs": str(folder / f"{variant.name}.npz"),
        }
        for variant in package.runnable
    ]
    (folder / "order.json").write_text(json.dumps({"work": work}))
    return folder / "order.json"


def _about(said: str, processor: Processor) -> dict[str, Any]:
    """Return what the child said of itself; raise LabError when some of its work failed."""
    about, *rows = (json.loads(line) for line in said.splitlines())
    for row in rows:
        if "error" in row:
            raise LabError(f"{row['name']} does not run on {processor.title}: {row['error']}")
    found: dict[str, Any] = about
    return found


def _tensor(files: dict[str, bytes], tensor: TensorFile) -> Array:
    return np.frombuffer(files[tensor.file], TYPES[tensor.datatype]).reshape(tensor.shape)
