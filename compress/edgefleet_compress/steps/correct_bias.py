"""Biases moved so that each layer's mean output is again what it was before quantization.

Rounding weights and clipping activations shift the mean of a channel; the next layers see that on every input. The shift is
measured on calibration data and taken out of the bias, layer after layer, each behind the corrected ones: empirical bias
correction, Nagel and others, Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019, section 4.2.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import numpy_helper

from ..runtime import Array, batches, open_session

LAYERS = ("Conv", "Gemm")
BATCH = 64


def corrected(float_data: bytes, int8_data: bytes, inputs: Array) -> tuple[bytes, int]:
    """Return the quantized file with its biases moved, and how many layers that were.

    float_data: what `int8_data` was made of; layers are the same where their nodes have one name. inputs: samples, first axis.
    Layers without a bias, or whose bias is shared, stay as they are.
    """
    model = onnx.load_from_string(int8_data)
    theirs = {
        node.name: node.output[0] for node in onnx.load_from_string(float_data).graph.node if node.op_type in LAYERS
    }
    layers = [node for node in model.graph.node if node.op_type in LAYERS and node.name in theirs]
    wanted = _means(float_data, inputs, [theirs[node.name] for node in layers])
    done = 0
    for node in layers:
        bias = _bias(model.graph, node)
        if bias is None:
            continue
        tensor, scale = bias
        now = _means(model.SerializeToString(), inputs, [node.output[0]])[node.output[0]]
        old = numpy_helper.to_array(tensor)
        moved = old + np.round((wanted[theirs[node.name]] - now) / scale)
        tensor.CopyFrom(numpy_helper.from_array(_fit(moved, old), tensor.name))
        done += 1
    return model.SerializeToString(), done


def _fit(values: Array, like: Array) -> Array:
    if like.dtype != np.int32:
        return values.astype(like.dtype)
    limits = np.iinfo(np.int32)
    return np.clip(values, limits.min, limits.max).astype(np.int32)


def _bias(graph: onnx.GraphProto, node: onnx.NodeProto) -> tuple[onnx.TensorProto, Array] | None:
    """Return the constant that holds the node's int32 bias, and the scale of its steps."""
    if len(node.input) < 3:
        return None
    source = next((row for row in graph.node if node.input[2] in row.output), None)
    if source is None or source.op_type != "DequantizeLinear" or _readers(graph, node.input[2]) > 1:
        return None
    constants = {tensor.name: tensor for tensor in graph.initializer}
    tensor, scale = constants.get(source.input[0]), constants.get(source.input[1])
    if tensor is None or scale is None or _readers(graph, source.input[0]) > 1:
        return None
    return tensor, numpy_helper.to_array(scale)


def _readers(graph: onnx.GraphProto, name: str) -> int:
    return sum(name in node.input for node in graph.node)


def _means(data: bytes, inputs: Array, names: list[str]) -> dict[str, Array]:
    """Return the mean of each channel of these tensors over all of `inputs`."""
    model = onnx.load_from_string(data)
    have = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names) if name not in have)
    # Every node as the file has it: a fused graph no longer has the tensors in between.
    session = open_session(model.SerializeToString(), "plain")
    first = session.get_inputs()[0].name
    sums: dict[str, Array] = {}
    for rows in batches(inputs, BATCH):
        for name, value in zip(names, session.run(names, {first: rows}), strict=True):
            mean = value.mean(axis=tuple(_others(value))) * len(rows)
            sums[name] = sums.get(name, 0) + mean.astype(np.float64)
    return {name: total / len(inputs) for name, total in sums.items()}


def _others(value: Array) -> Iterator[int]:
    """Yield every axis but that of channels, which is the second."""
    return (axis for axis in range(value.ndim) if axis != 1)
