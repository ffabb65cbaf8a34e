"""Small ONNX models as bytes, written field by field: tests of the agent run where `onnx` is not installed.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import struct
from collections.abc import Sequence

FLOAT, INT64 = 1, 7


def classifier(weights: Sequence[Sequence[float]], bias: Sequence[float], *, probabilities: bool = False) -> bytes:
    """Return a model: `image` FP32 [-1, features] -> `scores` FP32 [-1, classes] = image @ weights + bias."""
    features, classes = len(weights), len(bias)
    last = "logits" if probabilities else "scores"
    nodes = [node("MatMul", ["image", "w"], ["product"]), node("Add", ["product", "b"], [last])]
    if probabilities:
        nodes.append(node("Softmax", ["logits"], ["scores"]))
    flat = [value for row in weights for value in row]
    return model(
        nodes,
        initializers=[tensor("w", [features, classes], flat), tensor("b", [classes], bias)],
        inputs=[value_info("image", ["n", features])],
        outputs=[value_info("scores", ["n", classes])],
    )


def memory_bomb(features: int, classes: int, gigabytes: int) -> bytes:
    """Return a model of that interface that asks for `gigabytes` of memory when it runs."""
    elements = gigabytes * 2**28
    return model(
        [
            node("Expand", ["one", "huge"], ["wide"]),
            node("Sigmoid", ["wide"], ["wider"]),
            node("ReduceMax", ["wider"], ["most"], attribute("keepdims", 0)),
            node("MatMul", ["image", "w"], ["product"]),
            node("Add", ["product", "most"], ["scores"]),
        ],
        initializers=[
            tensor("one", [1], [1.0]),
            integers("huge", [1], [elements]),
            tensor("w", [features, classes], [0.0] * features * classes),
        ],
        inputs=[value_info("image", ["n", features])],
        outputs=[value_info("scores", ["n", classes])],
    )


def model(
    nodes: Sequence[bytes], initializers: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]
) -> bytes:
    """Return a whole file: IR 8, opset 17."""
    graph = b"".join(
        [
            *(_bytes(1, each) for each in nodes),
            _text(2, "graph"),
            *(_bytes(5, each) for each in initializers),
            *(_bytes(11, each) for each in inputs),
            *(_bytes(12, each) for each in outputs),
        ]
    )
    return _int(1, 8) + _bytes(7, graph) + _bytes(8, _text(1, "") + _int(2, 17))


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], *attributes: bytes) -> bytes:
    """Return a NodeProto."""
    return b"".join(
        [
            *(_text(1, name) for name in inputs),
            *(_text(2, name) for name in outputs),
            _text(4, operator),
            *(_bytes(5, each) for each in attributes),
        ]
    )


def attribute(name: str, value: int) -> bytes:
    """Return an integer attribute."""
    return _text(1, name) + _int(3, value) + _int(20, 2)


def tensor(name: str, shape: Sequence[int], values: Sequence[float]) -> bytes:
    """Return a float initializer."""
    return _tensor(name, shape, FLOAT, struct.pack(f"<{len(values)}f", *values))


def integers(name: str, shape: Sequence[int], values: Sequence[int]) -> bytes:
    """Return an int64 initializer."""
    return _tensor(name, shape, INT64, struct.pack(f"<{len(values)}q", *values))


def value_info(name: str, shape: Sequence[int | str]) -> bytes:
    """Return the name, type and shape of a float tensor."""
    dims = b"".join(_bytes(1, _int(1, size) if isinstance(size, int) else _text(2, size)) for size in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _int(1, FLOAT) + _bytes(2, dims)))


def _tensor(name: str, shape: Sequence[int], kind: int, raw: bytes) -> bytes:
    return b"".join([*(_int(1, size) for size in shape), _int(2, kind), _text(8, name), _bytes(9, raw)])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
