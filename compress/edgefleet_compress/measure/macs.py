"""How much arithmetic one inference is: multiplications of convolutions and matrix products, by number format."""

from dataclasses import dataclass
from math import prod

import onnx

from ..errors import CompressError


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one sample."""

    fp32: int
    int8: int


def count_macs(model: bytes) -> Macs:
    """Return the multiply-accumulates of one inference, batch 1, from the file's shapes."""
    proto = onnx.load_from_string(model)
    for value in (*proto.graph.input, *proto.graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.HasField("dim_value"):
                dimension.dim_value = 1  # a named dimension is the batch
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    makers = {output: node for node in inferred.node for output in node.output}
    counts = {"fp32": 0, "int8": 0}
    for node in inferred.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        if node.output[0] not in shapes or node.input[1] not in shapes:
            raise CompressError(f"the shape of {node.op_type} {node.name or node.output[0]} cannot be inferred")
        quantized = all(name in makers and makers[name].op_type == "DequantizeLinear" for name in node.input[:2])
        counts["int8" if quantized else "fp32"] += _macs(node, shapes)
    return Macs(**counts)


def _macs(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    """Every output value is a sum; its length is what is counted."""
    output = max(prod(shapes[node.output[0]]), 1)
    if node.op_type == "Conv":
        return output * prod(shapes[node.input[1]][1:])
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return output * shapes[node.input[1]][1 if transposed else -2]
