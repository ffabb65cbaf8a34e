"""Ranges with the least error, layers brought to one range, biases corrected, mixed precision, sixteen bits."""

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnxruntime.quantization.calibrate import TensorData
from torch import nn

from edgefleet_compress.candidate import Candidate
from edgefleet_compress.errors import CannotQuantize, RecipeError, ToleranceMissed
from edgefleet_compress.measure.macs import count_macs
from edgefleet_compress.package.golden import golden_answers
from edgefleet_compress.recipe import make_step, parse
from edgefleet_compress.runtime import Array, answers, open_session
from edgefleet_compress.steps.correct_bias import corrected
from edgefleet_compress.steps.equalize import Equalize, neighbours
from edgefleet_compress.steps.export import Export
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.steps.half import Half
from edgefleet_compress.steps.quantize_mixed import QuantizeMixed
from edgefleet_compress.steps.quantize_static import QuantizeStatic
from edgefleet_compress.steps.ranges import LEVELS, least_error
from edgefleet_compress.steps.tidy import Tidy
from edgefleet_compress.workload import Workload
from tests.compress.conftest import Trained


def onnx_of(candidate: Candidate) -> bytes:
    assert candidate.onnx is not None
    return candidate.onnx


def loss(values: Array, low: float, high: float) -> float:
    step = (high - low) / LEVELS
    return float(np.square(np.clip(np.round((values - low) / step), 0, LEVELS) * step + low - values).sum())


# --- ranges


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 200.0), st.booleans())
def test_the_range_with_the_least_error_is_never_worse_than_the_whole(
    seed: int, outlier: float, symmetric: bool
) -> None:
    values = np.append(np.random.default_rng(seed).normal(1.0, 1.0, 2000), outlier)
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, 2048, (-max(-low, high), max(-low, high)))
    middle = np.repeat((edges[:-1] + edges[1:]) / 2, counts)
    lower, upper = least_error(counts, edges, low, high, symmetric=symmetric)
    most = max(-low, high)
    whole = (-most, most) if symmetric else (min(low, 0.0), max(high, 0.0))
    assert whole[0] <= lower <= 0 <= upper <= whole[1]
    assert loss(middle, lower, upper) <= loss(middle, *whole) * (1 + 1e-9)


def test_one_outlier_does_not_take_the_steps_of_all_others() -> None:
    values = np.append(np.random.default_rng(0).uniform(0, 1, 1_000_000), 5.0)
    counts, edges = np.histogram(values, 2048, (-5, 5))
    assert least_error(counts, edges, 0.0, 5.0)[1] < 2.5


def test_ranges_by_least_error_give_another_file_that_runs_whole_on_int8(trained: Trained) -> None:
    plain = QuantizeStatic(samples=64).apply(trained.exported, trained.workload, trained.context)
    mse = QuantizeStatic(samples=64, method="mse").apply(trained.exported, trained.workload, trained.context)
    assert onnx_of(mse) != onnx_of(plain) and mse.facts["int8_kernels"] == plain.facts["int8_kernels"]
    assert mse.lineage[-1] == "int8 (mse)"


def test_the_percentile_is_a_setting(trained: Trained) -> None:
    one, other = (
        QuantizeStatic(samples=64, method="percentile", percentile=percentile).apply(
            trained.exported, trained.workload, trained.context
        )
        for percentile in (99.999, 99.0)
    )
    assert onnx_of(one) != onnx_of(other)
    with pytest.raises(RecipeError, match="percentile must be above 50"):
        QuantizeStatic(percentile=0.999)


# --- equalization


class Uneven(nn.Module):
    """Channels of very different sizes between a convolution, a depthwise one, and a linear layer behind a Flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.last = nn.Linear(8 * 7 * 7, 10)
        with torch.no_grad():
            self.first.weight.mul_(torch.logspace(-2, 1, 8).reshape(-1, 1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return ten scores."""
        seen = nn.functional.max_pool2d(self.depthwise(self.first(images).relu()).relu(), 4)
        scores: torch.Tensor = self.last(seen.flatten(1))
        return scores


@pytest.fixture(scope="module")
def uneven(trained: Trained) -> Candidate:
    torch.manual_seed(5)
    return Export().apply(Candidate(module=Uneven()), trained.workload, trained.context)


def unevenness(data: bytes) -> float:
    weight = next(t for t in onnx.load_from_string(data).graph.initializer if "first" in t.name and len(t.dims) == 4)
    most = np.abs(numpy_helper.to_array(weight)).reshape(8, -1).max(axis=1)
    return float(most.max() / most.min())


def test_equalized_layers_answer_the_same_with_channels_of_one_size(uneven: Candidate, trained: Trained) -> None:
    even = Equalize().apply(uneven, trained.workload, trained.context)
    inputs = trained.workload.test.inputs[:50].numpy()
    assert answers(open_session(onnx_of(even)), inputs) == pytest.approx(
        answers(open_session(onnx_of(uneven)), inputs), rel=1e-3, abs=1e-4
    )
    assert even.facts["equalized_pairs"] == 2
    assert unevenness(onnx_of(even)) < unevenness(onnx_of(uneven)) / 10


def test_equalizing_brings_int8_nearer_to_the_float_answers(uneven: Candidate, trained: Trained) -> None:
    inputs = trained.workload.test.inputs[:200].numpy()
    want = answers(open_session(onnx_of(uneven)), inputs)

    def apart(candidate: Candidate) -> float:
        int8 = QuantizeStatic(samples=64).apply(candidate, trained.workload, trained.context)
        return float(np.square(answers(open_session(onnx_of(int8)), inputs) - want).mean())

    even = Equalize().apply(uneven, trained.workload, trained.context)
    assert apart(even) < apart(uneven)


def test_layers_with_an_upper_end_between_them_are_no_neighbours(trained: Trained) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU6(), nn.Conv2d(4, 4, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(4 * 24 * 24, 10)
    )
    bounded = Export().apply(Candidate(module=model), trained.workload, trained.context)
    assert neighbours(onnx.load_from_string(onnx_of(bounded)).graph) == []
    with pytest.raises(RecipeError, match="upper end"):
        Equalize().apply(bounded, trained.workload, trained.context)


# --- bias correction


def test_corrected_biases_bring_each_layers_mean_back(trained: Trained) -> None:
    step = QuantizeStatic(samples=64, method="percentile", percentile=97.0)
    inputs = trained.workload.calibration_inputs[:64].numpy()
    plain = onnx_of(step.apply(trained.exported, trained.workload, trained.context))
    want = answers(open_session(onnx_of(trained.exported)), inputs).mean(axis=0)
    moved, layers = corrected(onnx_of(trained.exported), plain, inputs)
    before, after = (
        float(np.abs(answers(open_session(data), inputs).mean(axis=0) - want).max()) for data in (plain, moved)
    )
    assert layers >= 2 and after < before / 2
    made = dataclasses.replace(step, correct_bias=True).apply(trained.exported, trained.workload, trained.context)
    assert onnx_of(made) == moved and made.facts["biases_corrected"] == layers
    assert "bias corrected" in made.lineage[-1]


# --- mixed precision


def test_where_int8_costs_nothing_all_of_it_is_int8(trained: Trained) -> None:
    mixed = QuantizeMixed(tolerance_points=5.0, int8=QuantizeStatic(samples=64)).apply(
        trained.exported, trained.workload, trained.context
    )
    assert mixed.facts["float_nodes"] == ""
    assert onnx_of(mixed) == onnx_of(
        QuantizeStatic(samples=64).apply(trained.exported, trained.workload, trained.context)
    )


@pytest.fixture(scope="module")
def able(trained: Trained) -> Candidate:
    """The tiny model after enough epochs to have something to lose."""
    taught = Finetune(epochs=20, learning_rate=0.1).apply(trained.original, trained.workload, trained.context)
    return Export().apply(taught, trained.workload, trained.context)


@dataclasses.dataclass(frozen=True)
class Misjudged(QuantizeStatic):
    """Its ranges are right but for what the last layer reads, which it believes to be a thousand times larger."""

    def ranges(self, data: bytes, workload: Workload) -> Any:
        """Return the ranges."""
        found = super().ranges(data, workload)
        tensor = next(node.input[0] for node in onnx.load_from_string(data).graph.node if node.op_type == "Gemm")
        low, high = found[tensor].range_value
        found[tensor] = TensorData(lowest=low, highest=np.float32(1000) * high)
        return found


def test_the_node_that_int8_hurts_stays_in_floating_point(able: Candidate, trained: Trained) -> None:
    step = QuantizeMixed(tolerance_points=2.0, int8=Misjudged(samples=64))
    mixed = step.apply(able, trained.workload, trained.context)
    gemm = next(n.name for n in onnx.load_from_string(onnx_of(able)).graph.node if n.op_type == "Gemm")
    assert mixed.facts["float_nodes"] == gemm and mixed.lineage[-1] == "int8 (minmax), 1 nodes float"
    covered = int(str(mixed.facts["int8_kernels"]).split("/")[0])
    assert covered == int(str(mixed.facts["int8_kernels"]).split("/")[1]) - 1


def test_when_too_many_nodes_would_have_to_stay_every_loss_is_said(able: Candidate, trained: Trained) -> None:
    spoilt = trained.workload.calibration_inputs.clone()
    spoilt[0] = 1e6
    workload = dataclasses.replace(trained.workload, calibration=spoilt)
    with pytest.raises(ToleranceMissed, match=r"0 float: \d.*; 1 float: \d"):
        QuantizeMixed(tolerance_points=2.0, at_most=1, int8=QuantizeStatic(samples=64)).apply(
            able, workload, trained.context
        )


def test_a_step_inside_a_step_is_written_as_a_step() -> None:
    step = make_step({"step": "quantize_mixed", "int8": {"step": "quantize_static", "method": "mse"}}, "here")
    assert isinstance(step, QuantizeMixed) and step.int8.method == "mse"
    with pytest.raises(RecipeError, match="takes one of: quantize_static"):
        make_step({"step": "quantize_mixed", "int8": {"step": "tidy"}}, "here")


# --- sixteen bits


def test_sixteen_bits_halve_the_file_and_keep_the_interface(trained: Trained) -> None:
    half = Half().apply(trained.exported, trained.workload, trained.context)
    whole = onnx_of(trained.exported)
    assert len(onnx_of(half)) < 0.7 * len(whole)
    tidied = Tidy().apply(half, trained.workload, trained.context)
    for data in (onnx_of(half), onnx_of(tidied)):
        onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
        assert count_macs(data) == count_macs(whole)
    session = open_session(onnx_of(half))
    assert [row.type for row in (*session.get_inputs(), *session.get_outputs())] == ["tensor(float)"] * 2
    with pytest.raises(CannotQuantize, match="not 32-bit"):
        Half().apply(half, trained.workload, trained.context)
    with pytest.raises(CannotQuantize, match=r"keep names \['nose'\]"):
        Half(keep=("nose",)).apply(trained.exported, trained.workload, trained.context)


def test_a_variant_for_a_gpu_says_so_and_is_allowed_a_gpus_spread(trained: Trained) -> None:
    recipes = parse({"variant": [{"name": "half", "provider": "CUDAExecutionProvider", "steps": ["half"]}]})
    assert next(row for row in recipes.variants if row.name == "half").provider == "CUDAExecutionProvider"
    with pytest.raises(RecipeError, match="provider must be one of"):
        parse({"variant": [{"name": "half", "provider": "GPU"}]})
    inputs = trained.workload.test.inputs[:8].numpy()
    cpu, gpu = (
        golden_answers(onnx_of(trained.exported), inputs, inputs, provider).tolerance
        for provider in ("CPUExecutionProvider", "CUDAExecutionProvider")
    )
    assert gpu.provider == "CUDAExecutionProvider" and gpu.max_abs > cpu.max_abs
