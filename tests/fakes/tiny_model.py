"""A real ONNX model of a few hundred bytes, built from raw wire bytes: no torch and no onnx is needed to make it.

`y = x · W + b` with x (N, 4), W (4, 3), b (3). Weights are eighths and inputs quarters, so that 32-bit floats hold
every intermediate value and plain Python gives onnxruntime's answers to the last bit.
"""

import random
import struct
from collections.abc import Sequence

IR_VERSION = 8
OPSET = 17
INPUTS, OUTPUTS = 4, 3
INPUT_NAME, OUTPUT_NAME = "input", "logits"

Matrix = list[list[float]]


def weights(seed: int) -> tuple[Matrix, list[float]]:
    """Return W (4 rows of 3) and b (3) of the model that `seed` makes."""
    rng = random.Random(seed)
    matrix = [[rng.randint(-16, 16) / 8 for _ in range(OUTPUTS)] for _ in range(INPUTS)]
    return matrix, [rng.randint(-16, 16) / 8 for _ in range(OUTPUTS)]


def samples(seed: int, count: int) -> Matrix:
    """Return `count` inputs of 4 numbers."""
    rng = random.Random(f"samples-{seed}")
    return [[rng.randint(-8, 8) / 4 for _ in range(INPUTS)] for _ in range(count)]


def answers(seed: int, inputs: Sequence[Sequence[float]]) -> Matrix:
    """Return what the model that `seed` makes answers to `inputs`, exactly."""
    matrix, bias = weights(seed)
    return [[sum(row[i] * matrix[i][o] for i in range(INPUTS)) + bias[o] for o in range(OUTPUTS)] for row in inputs]


def floats(rows: Sequence[Sequence[float]]) -> bytes:
    """Return `rows` as raw little-endian float32."""
    flat = [value for row in rows for value in row]
    return struct.pack(f"<{len(flat)}f", *flat)


def tiny_onnx(seed: int = 0, *, ballast: int = 0, external: str | None = None) -> bytes:
    """Return the ONNX file of the model that `seed` makes.

    ballast: so many bytes of text that does not compress well go into its description, to make a file of many chunks.
    external: W lies in a file of this name, at its start (a path that leaves the folder makes a hostile model).
    """
    matrix, bias = weights(seed)
    graph = _message(1, _node("MatMul", [INPUT_NAME, "W"], ["product"]))
    graph += _message(1, _node("Add", ["product", "b"], [OUTPUT_NAME]))
    graph += _text(2, "tiny")
    graph += _message(5, _tensor("W", [INPUTS, OUTPUTS], floats(matrix), external))
    graph += _message(5, _tensor("b", [OUTPUTS], floats([bias]), None))
    graph += _message(11, _value(INPUT_NAME, INPUTS)) + _message(12, _value(OUTPUT_NAME, OUTPUTS))
    model = _number(1, IR_VERSION) + _text(2, "edgefleet-tests") + _message(7, graph)
    if ballast:
        model += _text(6, random.Random(seed).randbytes(ballast // 2 + 1).hex()[:ballast])
    return model + _message(8, _text(1, "") + _number(2, OPSET))


def external_weights(seed: int) -> bytes:
    """Return the bytes of W, for the file beside a model made with `external`."""
    return floats(weights(seed)[0])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())


def _node(operator: str, inputs: list[str], outputs: list[str]) -> bytes:
    ends = b"".join(_text(1, name) for name in inputs) + b"".join(_text(2, name) for name in outputs)
    return ends + _text(3, operator.lower()) + _text(4, operator)


def _tensor(name: str, shape: list[int], raw: bytes, external: str | None) -> bytes:
    head = b"".join(_number(1, size) for size in shape) + _number(2, 1) + _text(8, name)
    if external is None:
        return head + _message(9, raw)
    place = {"location": external, "offset": "0", "length": str(len(raw))}
    entries = b"".join(_message(13, _text(1, key) + _text(2, value)) for key, value in place.items())
    return head + entries + _number(14, 1)


def _value(name: str, width: int) -> bytes:
    shape = _message(1, _text(2, "N")) + _message(1, _number(1, width))
    return _text(1, name) + _message(2, _message(1, _number(1, 1) + _message(2, shape)))
