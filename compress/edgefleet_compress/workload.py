"""The user's workload: a Python file that says what the model is, on which data, and what counts as good.

    from edgefleet_compress.workload import InputSpec, OutputSpec, Split, Workload

    def workload() -> Workload:
        return Workload(name="doorbell", make_model=MyNet, train=Split(x, y), validation=…, test=…, …)

`load` imports the file, calls `workload()` and checks what came back, so that hours of training do not end in an error
that could have been seen at once.
"""

import hashlib
import importlib.util
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from edgefleet_protocol.manifest import InputSpec, Interface, OutputSpec
from edgefleet_protocol.names import check_label

from .errors import BadMetric, WorkloadError
from .neighbours import Neighbours

__all__ = ["InputSpec", "Interface", "Loaded", "OutputSpec", "Split", "Workload", "load", "top1"]

_METRIC_RULE = (
    "it must return one number from 0 to 1, where more is better: divide a percentage by 100, and turn an error e into "
    "1 - e or 1 / (1 + e)"
)
MIN_CALIBRATION = 64
"""Fewer samples leave ranges to chance; halved accuracy was seen in the field with ten or twenty."""
MIN_HELD_OUT = 32
"""The package needs 16 golden inputs out of the test data, and a metric over fewer says nothing."""

TORCH_TYPES = {
    "FP32": torch.float32, "FP16": torch.float16, "FP64": torch.float64, "UINT8": torch.uint8, "INT8": torch.int8,
    "INT32": torch.int32, "INT64": torch.int64, "BOOL": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class Split:
    """Samples and what is true of them, as tensors whose first dimension counts samples."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)


def top1(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of samples whose largest output is the true one, 0 to 1."""
    return float((outputs.argmax(1) == targets).float().mean())


@dataclass(frozen=True)
class Workload:
    """All that compression needs to know of a model. One input, one output; more come in a later version."""

    name: str
    """The model's name in the fleet: a-z, 0-9 and -."""
    make_model: Callable[[], nn.Module]
    """Returns the model: with its weights when it is already trained, else fresh (the recipes' `original` trains it)."""
    train: Split
    validation: Split
    """What every choice is made on: ratios, epochs, methods."""
    test: Split
    """Held out: read for the numbers in the report and for golden inputs, never for a choice."""
    input: InputSpec
    output: OutputSpec
    task: str = "classification"
    labels: tuple[str, ...] = ()
    calibration: Tensor | None = None
    """Inputs from which int8 ranges are measured; None takes the first 512 of `train`."""
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy
    metric: Callable[[Tensor, Tensor], float] = top1
    """Larger is better, 0 to 1: a loss of 0.01 is called one point."""
    metric_name: str = "accuracy"
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    """Changes a batch of training inputs; draws from the generator only, so that a run can be repeated."""
    distil: Callable[[Tensor, Tensor], Tensor] | None = None
    """(outputs, the original's outputs) to what distillation makes small; None is for logits of a classification."""
    thresholds: dict[str, float] = field(default_factory=dict)

    @property
    def interface(self) -> Interface:
        """The contract with applications, as the release states it."""
        return Interface(
            task=self.task, inputs=(self.input,), outputs=(self.output,), labels=self.labels, thresholds=self.thresholds
        )

    @property
    def calibration_inputs(self) -> Tensor:
        """The inputs that ranges are measured on."""
        return self.train.inputs[:512] if self.calibration is None else self.calibration

    def score(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the metric; raise BadMetric when it is no number from 0 to 1, as points and tolerances take it to be."""
        value = self.metric(outputs, targets)
        try:
            number = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise BadMetric(f"metric returned {value!r}; {_METRIC_RULE}") from error
        if not 0 <= number <= 1:
            raise BadMetric(f"metric returned {number:g}; {_METRIC_RULE}")
        return number

    def example(self, samples: int = 1) -> Tensor:
        """Return the first `samples` validation inputs."""
        return self.validation.inputs[:samples]


@dataclass(frozen=True)
class Loaded:
    """A workload that was checked, and the digest of its file, the files that it imports, its data and its weights."""

    workload: Workload
    path: Path
    digest: str
    neighbours: Neighbours
    """Enter its `at_work()` to pickle or run what the workload defines."""


def load(path: Path) -> Loaded:
    """Return the workload of the Python file `path`; raise WorkloadError, saying what to change, when it is no good."""
    neighbours = Neighbours(path)
    with neighbours.at_work():
        made = _load(path, neighbours)
        digest = _digest(path, made, neighbours)
    return Loaded(made, path, digest, neighbours)


def _load(path: Path, neighbours: Neighbours) -> Workload:
    module = _import(path, neighbours)
    make = getattr(module, "workload", None)
    if make is None:
        raise WorkloadError(path, "it defines no function `workload()` that returns a Workload")
    try:
        made = make() if callable(make) else make
    except Exception as error:
        raise WorkloadError(path, f"workload() failed: {_where(error, path)}") from error
    if not isinstance(made, Workload):
        raise WorkloadError(path, f"workload() returned a {type(made).__name__}, not a Workload")
    try:
        check(made)
    except WorkloadError:
        raise
    except Exception as error:
        raise WorkloadError(path, str(error)) from error
    return made


def check(workload: Workload) -> None:
    """Raise ValueError, naming the two values that disagree, unless the workload's parts fit each other."""
    check_label("model", workload.name)
    for spec in (workload.input, workload.output):
        if not spec.shape or spec.shape[0] != -1:
            raise ValueError(
                f"{spec.name} has the shape {list(spec.shape)}; its first dimension is the batch: write -1"
            )
    for name in ("train", "validation", "test"):
        _check_split(workload, name, getattr(workload, name))
    if len(workload.test) < MIN_HELD_OUT:
        raise ValueError(f"test has {len(workload.test)} samples; {MIN_HELD_OUT} is the least")
    calibration = workload.calibration_inputs
    if len(calibration) < MIN_CALIBRATION:
        raise ValueError(
            f"there are {len(calibration)} calibration samples and {MIN_CALIBRATION} is the least; give some hundreds "
            "that look like what the devices will see (they need no labels)"
        )
    _check_inputs(workload, "calibration", calibration)
    if workload.task == "classification" and not workload.labels:
        raise ValueError("a classification needs `labels`, in the order of the outputs")
    _check_model(workload)


def _check_split(workload: Workload, name: str, split: Split) -> None:
    if not isinstance(split, Split):
        raise ValueError(f"{name} is a {type(split).__name__}; give a Split(inputs, targets) of tensors")
    if not isinstance(split.inputs, Tensor):
        raise ValueError(
            f"{name}'s inputs are a {type(split.inputs).__name__}, and a workload's model takes one tensor. Join several into one and "
            "take them apart in the model's forward, or export the model and use `edgefleet compress onnx`, which takes any number"
        )
    if len(split.inputs) != len(split.targets):
        raise ValueError(f"{name} has {len(split.inputs)} inputs and {len(split.targets)} targets")
    if not len(split):
        raise ValueError(f"{name} is empty")
    _check_inputs(workload, name, split.inputs)
    if workload.task != "classification" or not workload.labels:
        return
    if split.targets.dtype != torch.int64 or split.targets.ndim != 1:
        raise ValueError(
            f"{name}'s targets are {split.targets.dtype} {list(split.targets.shape)}; give int64 numbers of labels"
        )
    low, high = int(split.targets.min()), int(split.targets.max())
    if low < 0 or high >= len(workload.labels):
        raise ValueError(f"{name}'s targets go from {low} to {high} and there are {len(workload.labels)} labels")


def _check_inputs(workload: Workload, name: str, inputs: Tensor) -> None:
    spec = workload.input
    want = TORCH_TYPES.get(spec.datatype)
    if inputs.dtype != want:
        raise ValueError(f"{name}'s inputs are {inputs.dtype} and the input's datatype is {spec.datatype}")
    if not _fits(inputs, spec.shape):
        raise ValueError(f"{name}'s inputs have the shape {list(inputs.shape)} and the input says {list(spec.shape)}")
    if inputs.is_floating_point() and not bool(torch.isfinite(inputs).all()):
        bad = int((~torch.isfinite(inputs).flatten(1).all(1)).nonzero()[0])
        raise ValueError(f"{name}'s inputs hold NaN or infinity, first in sample {bad}")
    if spec.range is not None:
        low, high = float(inputs.min()), float(inputs.max())
        if low < spec.range[0] or high > spec.range[1]:
            raise ValueError(f"{name}'s inputs go from {low:g} to {high:g} and the input's range is {list(spec.range)}")


def _check_model(workload: Workload) -> None:
    model = workload.make_model()
    if not isinstance(model, nn.Module):
        raise ValueError(f"make_model() returned a {type(model).__name__}, not a torch.nn.Module")
    with torch.no_grad():
        try:
            outputs = model.eval()(workload.example(2))
        except Exception as error:
            raise ValueError(
                f"the model cannot take inputs of {list(workload.example(2).shape)}: {type(error).__name__}: {error}"
            ) from error
    if not isinstance(outputs, Tensor):
        raise ValueError(f"the model returns a {type(outputs).__name__}; one tensor is what this version can compress")
    if not _fits(outputs, workload.output.shape):
        raise ValueError(f"the model returns {list(outputs.shape)} and the output says {list(workload.output.shape)}")
    if workload.task == "classification" and workload.labels and outputs.shape[-1] != len(workload.labels):
        raise ValueError(
            f"the model returns {outputs.shape[-1]} values a sample and there are {len(workload.labels)} labels"
        )
    if not bool(torch.isfinite(outputs).all()):
        raise ValueError("the model answers NaN or infinity before any training; look at its weights")
    loss = float(workload.loss(outputs, workload.validation.targets[:2]))
    if not math.isfinite(loss):
        raise ValueError(f"the loss of the first two validation samples is {loss}")
    if workload.distil is not None and not math.isfinite(value := float(workload.distil(outputs, outputs))):
        raise ValueError(f"distil of the model's answers and themselves is {value}")
    with torch.no_grad():
        workload.score(model(workload.example(MIN_HELD_OUT)), workload.validation.targets[:MIN_HELD_OUT])


def _fits(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    return tensor.ndim == len(shape) and all(
        want in (-1, got) for got, want in zip(tensor.shape[1:], shape[1:], strict=True)
    )


def _import(path: Path, neighbours: Neighbours) -> ModuleType:
    if not path.is_file():
        raise WorkloadError(path, "there is no such file. `edgefleet compress example DIR` writes one to start from")
    # The name comes from the bytes, so that finished work, which is pickled under it, is found again in a later process.
    name = "edgefleet_workload_" + hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WorkloadError(path, "it is not a Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise WorkloadError(path, f"it cannot be imported: {_where(error, path)}") from error
    neighbours.belongs_to(name, module)
    return module


def _where(error: Exception, path: Path) -> str:
    """Return the error's own words, and the line of the user's file that it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"


def _digest(path: Path, workload: Workload, neighbours: Neighbours) -> str:
    """Return what names all that a result is made of: another digest, and everything is made anew."""
    digest = hashlib.sha256(path.read_bytes())
    for name, file in neighbours.files:
        digest.update(f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    splits = (workload.train, workload.validation, workload.test)
    tensors = [tensor for split in splits for tensor in (split.inputs, split.targets)]
    # A model that comes trained has its weights from a file, which may be another one tomorrow.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = workload.make_model().state_dict()
    tensors += [value for value in state.values() if isinstance(value, Tensor)]
    for tensor in (*tensors, workload.calibration_inputs):
        digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
