"""What a step promised must hold after the steps that come later: zeros stay zero, letters stay few.

Each is looked at in the file itself, after quantization, and a loss of it is an error: a recipe would otherwise claim
bytes that the wire does not save.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from .candidate import Candidate
from .errors import CannotQuantize
from .runtime import Array

MIN_ROW = 32
"""Rows shorter than this say nothing about an alphabet."""


def check_invariants(before: Candidate, data: bytes, step: str) -> None:
    """Raise CannotQuantize when the quantized file `data` lost the zeros or the alphabet that `before` states as facts."""
    weights = int8_weights(data)
    if not weights:
        return
    if (levels := before.facts.get("alphabet")) is not None:
        most = max(_letters(weight) for weight in weights)
        if most > int(levels):
            raise CannotQuantize(
                f"{step!r} left {most} different values in a channel and the alphabet before it has {levels}: "
                "a step between them changed the weights of single inputs; put it before the alphabet"
            )
    if (zeros := before.facts.get("zeros")) is not None:
        share = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.size for weight in weights)
        if share < float(zeros) - 0.005:
            raise CannotQuantize(
                f"{step!r} left {share:.1%} zeros and {float(zeros):.1%} of the weights were zero before it"
            )


def int8_weights(data: bytes) -> list[Array]:
    """Return the int8 weights of matrix form or more, outputs first, as the file holds them."""
    graph = onnx.load_from_string(data).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in constants:
            continue
        weight = numpy_helper.to_array(constants[node.input[0]])
        if weight.dtype != np.int8 or weight.ndim < 2:
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        found.append(np.moveaxis(weight, axis, 0) if weight.ndim > axis else weight)
    return found


def _letters(weight: Array) -> int:
    rows = weight.reshape(len(weight), -1)
    if rows.shape[1] < MIN_ROW:
        return 0
    return max(len(np.unique(row)) for row in rows)
