"""Scales of weights that cost the wire little: letters are written as small whole numbers, and a scale has a short mantissa.

A scale per channel is four bytes that no compressor makes smaller, and so is the scale of its bias, which is that times the
scale of the input. In a small network they outweigh what the weights themselves cost.
"""

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..runtime import Array

SHORT_BITS = 5
"""Of a mantissa: a scale is at most a sixteenth too large."""
INT8_MOST = 127
EXACT = 1e-4
"""Of a letter's step: how far a weight may be from its letter. Folding a factor per channel moves it by less than a millionth."""
HEAVY = ("Conv", "Gemm", "MatMul")


def short(values: Array, bits: int = SHORT_BITS) -> Array:
    """Return the values rounded up to so many bits of mantissa."""
    mantissa, exponent = np.frexp(np.asarray(values, np.float64))
    # A value that is short already, but for a rounding error of its own, stays.
    rounded = np.ceil(mantissa * 2**bits - 1e-6) / 2**bits
    found: Array = np.ldexp(rounded, exponent).astype(np.float32)
    return found


def overrides(data: bytes, levels: int | None) -> dict[str, list[dict[str, Any]]]:
    """Return a scale for each channel of each weight, as onnxruntime's quantizer takes them (`TensorQuantOverrides`).

    levels: values of a channel's weights, where they come from an alphabet: then its step is the scale, exactly.
    """
    graph = onnx.load_from_string(data).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found: dict[str, list[dict[str, Any]]] = {}
    for node in graph.node:
        if node.op_type not in HEAVY or node.input[1] not in constants:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]])
        if weight.ndim < 2 or weight.dtype != np.float32:
            continue
        axis = _axis(node, weight.ndim)
        rows = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
        steps = [None if levels is None else step_of(row, levels // 2) for row in rows]
        scales = [
            float(short(np.array(most_of(row) / INT8_MOST))) if step is None else step
            for row, step in zip(rows, steps, strict=True)
        ]
        found[node.input[1]] = [
            {"axis": axis, "scale": np.float32(scale), "zero_point": np.int8(0)} for scale in scales
        ]
    return found


def step_of(row: Array, most: int) -> float | None:
    """Return the step between the letters of a channel, or None when its values are no letters of so many steps each way."""
    largest = most_of(row)
    for steps in range(1, most + 1):
        letters = row / (largest / steps)
        if np.abs(letters - np.round(letters)).max() < EXACT * steps:
            return largest / steps
    return None


def most_of(row: Array) -> float:
    """Return the largest weight of a channel, never zero."""
    return max(float(np.abs(row).max()), 1e-12)


def _axis(node: onnx.NodeProto, rank: int) -> int:
    """Return where a weight's outputs are."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "MatMul":
        return rank - 1
    return 0 if any(attribute.name == "transB" and attribute.i for attribute in node.attribute) else 1
