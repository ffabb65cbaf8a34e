"""Files as other quantizers leave them, built by hand: one convolution between quantizers, or a short chain of them."""

from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = 8
Bias = Literal["int32", "float", "computed", "none"]
_NUMPY = {TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}


def one_convolution(
    before: int = TensorProto.INT8,
    after: int | None = TensorProto.INT8,
    per_channel: bool = False,
    depthwise: bool = False,
    activation: str = "",
    scale: float = 0.05,
    zero: int = 0,
    bias: Bias = "int32",
) -> bytes:
    """Return the file. before, after: types of the quantizers around it; None leaves the result as it is. activation:
    `Relu` or `Clip` (0 to 6) behind the convolution. scale and zero: of the quantizer behind it. bias: a float one may be a
    constant, or computed from the input.
    """
    constants: list[onnx.TensorProto] = []

    def constant(name: str, values: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    draw = np.random.default_rng(0)
    axis = {"axis": 1} if per_channel else {}
    many = (CHANNELS,) if per_channel else ()
    quantizer = [
        constant("x_scale", np.full(many, 0.05, np.float32)),
        constant("x_zero", np.zeros(many, _NUMPY[before])),
    ]
    group = CHANNELS if depthwise else 1
    weights = draw.integers(-127, 128, (CHANNELS, CHANNELS // group, 3, 3)).astype(np.int8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *quantizer], ["xq"], name="q", **axis),
        helper.make_node("DequantizeLinear", ["xq", *quantizer], ["xd"], name="dq", **axis),
        helper.make_node(
            "DequantizeLinear",
            [constant("w", weights), constant("w_scale", np.full(CHANNELS, 0.01, np.float32)),
             constant("w_zero", np.zeros(CHANNELS, np.int8))],
            ["wd"], name="dq_w", axis=0,
        ),
        helper.make_node("Conv", ["xd", "wd", *(["bd"] if bias != "none" else [])], ["y"], name="conv", pads=[1, 1, 1, 1], group=group),
    ]  # fmt: skip
    if bias == "float":
        constant("bd", np.ones(CHANNELS, np.float32))
    if bias == "computed":
        nodes.insert(3, helper.make_node("ReduceMax", ["x"], ["bd"], name="bias", axes=[0, 2, 3], keepdims=0))
    if bias == "int32":
        parts = [constant("b", np.ones(CHANNELS, np.int32)), constant("b_scale", np.full(CHANNELS, 0.0005, np.float32))]
        nodes.insert(3, helper.make_node("DequantizeLinear", parts, ["bd"], name="dq_b", axis=0))
    last = "y"
    if activation:
        ends = [constant("low", np.float32(0)), constant("high", np.float32(6))] if activation == "Clip" else []
        nodes.append(helper.make_node(activation, [last, *ends], ["a"], name="act"))
        last = "a"
    if after is None:
        nodes.append(helper.make_node("Sigmoid", [last], ["out"]))
    else:
        behind = [constant("y_scale", np.float32(scale)), constant("y_zero", _NUMPY[after](zero))]
        nodes += [
            helper.make_node("QuantizeLinear", [last, *behind], ["yq"], name="q_y"),
            helper.make_node("DequantizeLinear", ["yq", *behind], ["out"], name="dq_y"),
        ]
    return file_of(nodes, constants, [("x", ["n", CHANNELS, 8, 8])], [("out", ["n", CHANNELS, 8, 8])])


def one_product(operator: str, kind: int, bias: Bias, behind: tuple[str, ...], before: bool = True) -> bytes:
    """Return a file of one Gemm or MatMul with a scale for each output. kind: type of activations. behind: operators in a row,
    `Q` for quantizer and dequantizer. before: whether its input is quantized."""
    draw = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(np.float32(0.05), "scale"), numpy_helper.from_array(_NUMPY[kind](0), "zero"),
        numpy_helper.from_array(draw.integers(-127, 128, (CHANNELS, CHANNELS)).astype(np.int8), "w"),
        numpy_helper.from_array(np.full(CHANNELS, 0.01, np.float32), "w_scale"),
        numpy_helper.from_array(np.zeros(CHANNELS, np.int8), "w_zero"),
        numpy_helper.from_array(np.float32(0), "low"), numpy_helper.from_array(np.float32(6), "high"),
    ]  # fmt: skip
    nodes: list[onnx.NodeProto] = []

    def quantized(name: str) -> str:
        nodes.append(helper.make_node("QuantizeLinear", [name, "scale", "zero"], [f"{name}_q"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", "scale", "zero"], [f"{name}_dq"]))
        return f"{name}_dq"

    inputs = [quantized("x") if before else "x", "w_dq"]
    nodes.append(helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], axis=1))
    if bias == "float":
        constants.append(numpy_helper.from_array(np.ones(CHANNELS, np.float32), "b"))
        inputs.append("b")
    if bias == "int32":
        constants.append(numpy_helper.from_array(np.ones(CHANNELS, np.int32), "b"))
        constants.append(numpy_helper.from_array(np.full(CHANNELS, 0.0005, np.float32), "b_scale"))
        nodes.append(helper.make_node("DequantizeLinear", ["b", "b_scale"], ["b_dq"], axis=0))
        inputs.append("b_dq")
    nodes.append(helper.make_node(operator, inputs, ["y"], name="product"))
    last = "y"
    for place, kind_of in enumerate(behind):
        if kind_of == "Q":
            last = quantized(last)
            continue
        ends = ["low", "high"] if kind_of == "Clip" else []
        nodes.append(helper.make_node(kind_of, [last, *ends], [f"a{place}"]))
        last = f"a{place}"
    nodes[-1].output[0] = "out"
    used = {name for node in nodes for name in node.input}
    constants = [tensor for tensor in constants if tensor.name in used]
    return file_of(nodes, constants, [("x", ["n", CHANNELS])], [("out", ["n", CHANNELS])])


def file_of(
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    inputs: list[tuple[str, list[Any]]],
    outputs: list[tuple[str, list[Any]]],
    opset: int = 17,
) -> bytes:
    """Return a checked file of float tensors."""
    values = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *values, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data
