"""Golden inputs and answers: what a device must reproduce before a variant may serve, and how nearly.

The answers are those of the graph that Arm gets, one sample at a time. The tolerance comes from what was seen: the same
file is asked under other graph rules, other thread counts and in batches, and a device may be as far off as these are,
twice, plus, for int8, two steps of the output's scale: one for the rounding at a kernel's end, one for what reaches it.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from edgefleet_protocol.manifest import Tolerance

from ..recipe import CPU
from ..runtime import Array, Rules, answers, open_session
from ..workload import Workload

GOLDEN_SAMPLES = 16
CHECK_SAMPLES = 256
SPREAD_FACTOR = 2.0
QUANTIZATION_STEPS = 2.0
FLOAT_NOISE = 1e-4
"""Share of the largest answer: other builds of the runtime sum in another order (4e-6 was seen between x86 and Arm)."""
GPU_NOISE = 8 * 2.0**-10
"""The same on a GPU, an estimate: eight roundings of the ten bits that half precision and TF32 keep."""


@dataclass(frozen=True)
class GoldenAnswers:
    """What one variant answers."""

    golden: Array
    check: Array
    """Answers to the check inputs, for load generators."""
    spread: float
    """Largest difference that was seen between the ways to run it, over golden and check inputs."""
    tolerance: Tolerance


def golden_rows(workload: Workload) -> list[int]:
    """Return which test samples are golden: every label in turn, the first of each first."""
    if workload.task != "classification":
        return list(range(min(GOLDEN_SAMPLES, len(workload.test))))
    targets = workload.test.targets.tolist()
    rows_of: dict[int, list[int]] = {}
    for row, target in enumerate(targets):
        rows_of.setdefault(target, []).append(row)
    turns = sorted((turn, label, row) for label, rows in rows_of.items() for turn, row in enumerate(rows))
    return [row for _, _, row in turns[:GOLDEN_SAMPLES]]


def check_rows(workload: Workload) -> list[int]:
    """Return which test samples are check inputs: from the end, so that they are other ones than the golden."""
    count = len(workload.test)
    return list(range(max(count - CHECK_SAMPLES, 0), count))


def golden_answers(model: bytes, golden: Array, check: Array, provider: str = CPU) -> GoldenAnswers:
    """Return the answers of `model` to both sets of inputs, and the tolerance on `provider`."""
    inputs = np.concatenate([golden, check])
    want = answers(open_session(model, "arm"), inputs, batch=1)
    ways: tuple[tuple[Rules, int, int], ...] = (
        ("arm", 1, 16), ("arm", 2, 1), ("default", 1, 1), ("default", 1, 16), ("plain", 1, 16),
    )  # fmt: skip
    spread = max(
        float(np.abs(answers(open_session(model, rules, threads), inputs, batch) - want).max())
        for rules, threads, batch in ways
    )
    step = output_step(model)
    noise = FLOAT_NOISE if provider == CPU else GPU_NOISE
    max_abs = SPREAD_FACTOR * spread + QUANTIZATION_STEPS * step + noise * float(np.abs(want).max())
    answered = want[: len(golden)]
    return GoldenAnswers(
        golden=answered,
        check=want[len(golden) :],
        spread=spread,
        tolerance=Tolerance(provider=provider, max_abs=max_abs, min_top1=certain_top1(answered, max_abs)),
    )


def certain_top1(outputs: Array, max_abs: float) -> float:
    """Return the share of samples whose largest output stays the largest when every value is off by `max_abs`."""
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        return 0.0
    two = np.sort(outputs, axis=1)[:, -2:]
    return float((two[:, 1] - two[:, 0] > 2 * max_abs).mean())


def output_step(model: bytes) -> float:
    """Return the scale of an int8 output, or 0 where the output is computed in floating point."""
    graph = onnx.load_from_string(model).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if graph.output[0].name in node.output and node.op_type == "DequantizeLinear" and node.input[1] in constants:
            return float(np.max(numpy_helper.to_array(constants[node.input[1]])))
    return 0.0
