"""Writes the honest ONNX files of this folder: python tests/protocol/data/make.py. Needs onnx; the tests do not.

Made with onnx 1.23; IR 8 and opset 17, as EdgeFleet exports.
"""

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])


def model(nodes: list[onnx.NodeProto], tensors: list[onnx.TensorProto]) -> onnx.ModelProto:
    """Return a checked model from x (1, 4) to y (1, 3)."""
    made = helper.make_model(
        helper.make_graph(nodes, "g", [X], [Y], tensors), ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def dense() -> onnx.ModelProto:
    """A matrix product and a bias."""
    weight = helper.make_tensor("weight", TensorProto.FLOAT, [4, 3], [float(i) for i in range(12)])
    bias = helper.make_tensor("bias", TensorProto.FLOAT, [3], [0.5, 0.25, 0.125])
    return model([helper.make_node("Gemm", ["x", "weight", "bias"], ["y"])], [weight, bias])


def quantized() -> onnx.ModelProto:
    """int8 weights, per channel, behind a DequantizeLinear; the activation quantized and back."""
    tensors = [
        helper.make_tensor("q", TensorProto.INT8, [4, 3], bytes(range(12)), raw=True),
        helper.make_tensor("scale", TensorProto.FLOAT, [3], [0.1, 0.2, 0.3]),
        helper.make_tensor("zero", TensorProto.INT8, [3], bytes(3), raw=True),
        helper.make_tensor("x_scale", TensorProto.FLOAT, [], [0.05]),
        helper.make_tensor("x_zero", TensorProto.INT8, [], bytes(1), raw=True),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xf"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=1),
        helper.make_node("MatMul", ["xf", "w"], ["y"]),
    ]
    return model(nodes, tensors)


def branches() -> onnx.ModelProto:
    """An If with a subgraph on either side, each with a constant of its own."""
    sides = [
        helper.make_graph(
            [
                helper.make_node(
                    "Constant", [], [name], value=helper.make_tensor("c", TensorProto.FLOAT, [1, 3], [value] * 3)
                )
            ],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3])],
        )
        for name, value in (("then", 1.0), ("else", 2.0))
    ]
    condition = helper.make_tensor("t", TensorProto.BOOL, [], [True])
    return model([helper.make_node("If", ["t"], ["y"], then_branch=sides[0], else_branch=sides[1])], [condition])


def outside() -> onnx.ModelProto:
    """`dense` with its weight in weights.bin."""
    made = dense()
    weight = made.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", "0"), ("length", "48")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    return made


def main() -> int:
    """Write all four."""
    here = Path(__file__).parent
    for made, name in (
        (dense(), "dense"),
        (quantized(), "quantized"),
        (branches(), "branches"),
        (outside(), "outside"),
    ):
        (here / f"{name}.onnx").write_bytes(made.SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
