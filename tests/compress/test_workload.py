"""A workload that cannot work is refused before anything is trained, in words that say what to change."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgefleet_compress import workload as workloads
from edgefleet_compress.errors import WorkloadError
from edgefleet_compress.workload import InputSpec, Split, Workload, check
from tests.compress.conftest import TINY


def changed(split: Split, inputs: Tensor | None = None, targets: Tensor | None = None) -> Split:
    return Split(split.inputs if inputs is None else inputs, split.targets if targets is None else targets)


def holding_nan(inputs: Tensor) -> Tensor:
    inputs = inputs.clone()
    inputs[7, 0, 3, 3] = float("nan")
    return inputs


class WrongShape(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Breaks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x.flatten(1))
        return out


CASES: dict[str, tuple[Callable[[Workload], dict[str, Any]], str]] = {
    "NaN in the data": (lambda w: {"train": changed(w.train, holding_nan(w.train.inputs))}, "train's inputs hold NaN.*sample 7"),
    "wrong shape": (lambda w: {"test": changed(w.test, w.test.inputs[:, :, :20])}, r"test's inputs have the shape \[300, 1, 20, 28\]"),
    "wrong type": (lambda w: {"train": changed(w.train, w.train.inputs.double())}, "train's inputs are torch.float64.*FP32"),
    "out of range": (lambda w: {"train": changed(w.train, w.train.inputs * 255)}, r"go from 0 to 255 and the input's range is \[0"),
    "fewer targets": (lambda w: {"train": changed(w.train, targets=w.train.targets[:9])}, "400 inputs and 9 targets"),
    "target without label": (lambda w: {"validation": changed(w.validation, targets=w.validation.targets + 3)}, "from 3 to 12 and there are 10 labels"),
    "no labels": (lambda w: {"labels": ()}, "needs `labels`"),
    "empty": (lambda w: {"train": Split(w.train.inputs[:0], w.train.targets[:0])}, "train is empty"),
    "several inputs": (lambda w: {"train": Split({"a": w.train.inputs, "b": w.train.inputs}, w.train.targets)},  # type: ignore[arg-type]
                       "train's inputs are a dict, and a workload's model takes one tensor.*compress onnx"),
    "three calibration samples": (lambda w: {"calibration": w.train.inputs[:3]}, "3 calibration samples and 64 is the least"),
    "too few calibration samples": (lambda w: {"calibration": w.train.inputs[:10]}, "10 calibration samples and 64 is the least"),
    "too few test samples": (lambda w: {"test": Split(w.test.inputs[:4], w.test.targets[:4])}, "test has 4 samples"),
    "model returns another shape": (lambda w: {"make_model": WrongShape}, r"returns \[2, 784\] and the output says \[-1, 10\]"),
    "model cannot take the inputs": (lambda w: {"make_model": Breaks}, r"cannot take inputs of \[2, 1, 28, 28\]"),
    "not a model": (lambda w: {"make_model": lambda: 3}, "returned a int"),
    "fixed batch": (lambda w: {"input": InputSpec(name="image", datatype="FP32", shape=(1, 1, 28, 28))}, "is the batch: write -1"),
    "bad name": (lambda w: {"name": "My Model"}, "'My Model' cannot name a model"),
    "labels and outputs disagree": (lambda w: {"labels": tuple("abcdefghijkl")}, "10 values a sample and there are 12 labels"),
    "loss is NaN": (lambda w: {"loss": lambda outputs, targets: outputs.sum() * float("nan")}, "loss of the first two.*is nan"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_work_is_named(case: str, tiny: Workload) -> None:
    change, words = CASES[case]
    with pytest.raises(Exception, match=words):
        check(dataclasses.replace(tiny, **change(tiny)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothing_of_that_name\n", r"cannot be imported: ModuleNotFoundError.*\(line 1\)"),
        ("x = (\n", "cannot be imported: SyntaxError"),
        ("x = 1\n", "no function `workload"),
        ("def workload():\n    return 3\n", "returned a int, not a Workload"),
        ("def workload():\n    return 1 / 0\n", r"workload\(\) failed: ZeroDivisionError.*\(line 2\)"),
    ],
)
def test_a_file_that_is_no_workload_is_refused_with_its_line(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(WorkloadError, match=words):
        workloads.load(path)


def test_a_missing_file_is_answered_with_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="edgefleet compress example"):
        workloads.load(tmp_path / "none.py")


def test_the_digest_changes_with_the_data(tiny: Workload, tmp_path: Path) -> None:
    copy = tmp_path / "copy.py"
    copy.write_text(TINY.read_text())
    same = workloads.load(copy)
    assert same.digest == workloads.load(TINY).digest
    copy.write_text(TINY.read_text().replace('some("train", 400)', 'some("train", 399)'))
    assert workloads.load(copy).digest != same.digest


def test_pictures_of_bytes_are_a_workload_too(tiny: Workload) -> None:
    class FromBytes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny.make_model()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.inner(x.float() / 255)
            return out

    def to_bytes(split: Split) -> Split:
        return Split((split.inputs * 255).to(torch.uint8), split.targets)

    spec = InputSpec(name="image", datatype="UINT8", shape=(-1, 1, 28, 28), layout="NCHW", range=(0, 255))
    splits: dict[str, Any] = {name: to_bytes(getattr(tiny, name)) for name in ("train", "validation", "test")}
    check(dataclasses.replace(tiny, make_model=FromBytes, input=spec, **splits))
