"""Which nodes of a file onnxruntime will run on int8 kernels, and why the others stay in floating point.

These are the rules of its graph optimizer in our words (tried with onnxruntime 1.32): they are read off the file, no
session is made. `gates.coverage` holds each answer against the graph that the runtime really builds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from onnx import numpy_helper

from ..runtime import Array, Rules

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Where the arithmetic is, and whose kernel the quantizers around them decide."""
READY = {
    "QLinearConv": "int8", "QLinearMatMul": "int8", "ConvInteger": "int8", "MatMulInteger": "int8",
    "DynamicQuantizeMatMul": "int8", "DynamicQuantizeLSTM": "int8", "MatMulIntegerToFloat": "int8", "QGemm": "int8",
    "MatMulNBits": "weights", "LSTM": "float", "GRU": "float", "RNN": "float",
}  # fmt: skip
"""Operators that name their kernel themselves."""
PASSED = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "MaxPool")
"""The optimizer moves quantizers across these, which only move values or choose the largest; not across Flatten."""
ACTIVATIONS = ("Relu", "Clip")
"""Gone where the quantizer behind them saturates at the same values."""
PER_CHANNEL = "its input has a scale per channel; int8 kernels take one scale"
_LIMITS = {onnx.TensorProto.INT8: (-128, 127), onnx.TensorProto.UINT8: (0, 255)}
_NAMES = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8"}


@dataclass(frozen=True)
class Expected:
    """What one node is expected to run on."""

    format: str
    """`int8`, `float`, `weights` (few-bit weights, arithmetic in floating point), or `broken`: an int8 kernel that the
    file opens with, and that refuses every inference."""
    why: str = ""
    """Why it stays in floating point."""


@dataclass(frozen=True)
class _Quantizer:
    scale: Array | None
    zero: Array | None
    kind: int
    single: bool
    """Whether one consumer alone reads what it makes: only those does x86 turn from int8 to uint8."""


def expected(model: onnx.ModelProto, rules: Rules) -> dict[int, Expected]:
    """Return what each heavy node of the main graph, by its place in the file, is expected to run on."""
    return _Reading(model.graph, rules).answers()


def is_heavy(node: onnx.NodeProto) -> bool:
    """Return whether the node's kernel counts in a table of coverage."""
    return node.op_type in HEAVY or node.op_type in READY


@dataclass(frozen=True)
class _Reading:
    graph: onnx.GraphProto
    rules: Rules

    @cached_property
    def _constants(self) -> Mapping[str, onnx.TensorProto]:
        found = {tensor.name: tensor for tensor in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
                found[node.output[0]] = node.attribute[0].t
        return found

    @cached_property
    def _makers(self) -> Mapping[str, onnx.NodeProto]:
        return {name: node for node in self.graph.node for name in node.output}

    @cached_property
    def _readers(self) -> Mapping[str, list[onnx.NodeProto]]:
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def _results(self) -> frozenset[str]:
        return frozenset(value.name for value in self.graph.output)

    def answers(self) -> dict[int, Expected]:
        found = {}
        for place, node in enumerate(self.graph.node):
            if node.op_type in READY:
                found[place] = Expected(READY[node.op_type], "no int8 kernel" if READY[node.op_type] == "float" else "")
            elif self._weights_only(node):
                found[place] = Expected("weights")
            elif node.op_type in HEAVY:
                why = next(self._obstacles(node), "")
                # Tried with onnxruntime 1.32: with a bias such a convolution stays in floating point, without one it is
                # fused, and fails at the first inference.
                broken = why == PER_CHANNEL and self.rules == "arm" and node.op_type == "Conv" and len(node.input) < 3
                found[place] = Expected("broken" if broken else "float" if why else "int8", why)
        return found

    def _weights_only(self, node: onnx.NodeProto) -> bool:
        """Return whether a float input meets weights in few bits, with a scale for each output: for that there is a kernel."""
        if node.op_type not in ("MatMul", "Gemm") or self.rules == "plain" or self._before(node.input[0]) is not None:
            return False
        maker = self._makers.get(node.input[1])
        if maker is None or maker.op_type != "DequantizeLinear" or maker.input[0] not in self._constants:
            return False
        set_ = {attribute.name: attribute.i for attribute in node.attribute}
        scale = self._constant(maker, 1)
        axis = next((attribute.i for attribute in maker.attribute if attribute.name == "axis"), 1)
        plain = not set_.get("transA", 0) and not set_.get("transB", 0)
        return plain and scale is not None and (scale.size == 1 or axis in (1, -1))

    def _obstacles(self, node: onnx.NodeProto) -> Iterator[str]:
        if self.rules == "plain":
            yield "no graph optimization was asked for"
        if node.op_type == "ConvTranspose":
            yield "onnxruntime has no int8 kernel for it"
        before = [self._before(name) for name in node.input[:2]]
        if all(quantizer is None for quantizer in before):
            yield "it was not quantized"
        for quantizer, what in zip(before, ("input", "second input or weights"), strict=False):
            if quantizer is None:
                yield f"its {what} is not quantized"
        data, weights = before[0], before[1]
        assert data is not None and weights is not None
        if data.scale is not None and data.scale.size > 1:
            yield PER_CHANNEL
        kind = self._kind(data)
        if kind == onnx.TensorProto.INT8 and weights.kind != onnx.TensorProto.INT8:
            yield "its input is int8 and its weights uint8, for which there is no kernel"
        if kind == onnx.TensorProto.INT8 and self.rules == "default":
            yield "its input is int8, which this machine's rules leave in floating point (Arm's do not)"
        yield from self._behind(node, kind)
        unquantized = len(node.input) > 2 and node.input[2] and self._before(node.input[2]) is None
        # onnxruntime quantizes a constant bias itself where a quantizer takes the result.
        itself = unquantized and node.input[2] in self._constants and self._taker(node.output[0]) == "QuantizeLinear"
        if unquantized and not itself:
            yield "its bias is not quantized"

    def _behind(self, node: onnx.NodeProto, kind: int) -> Iterator[str]:
        """Yield what stands between the node's result and a quantizer of the right type."""
        optional = node.op_type in ("Gemm", "MatMul")
        name = node.output[0]
        lower, upper, activation, beside = -np.inf, np.inf, "", True
        while True:
            readers = self._readers.get(name, [])
            quantizers = [reader for reader in readers if reader.op_type == "QuantizeLinear"]
            if name in self._results or len(readers) != 1:
                if optional and not quantizers:
                    return
                if name in self._results:
                    yield "its result is an output of the model and is not quantized"
                yield f"{len(readers)} nodes read its result and int8 kernels need one quantizer there"
            (reader,) = readers
            if reader.op_type == "QuantizeLinear":
                break
            if reader.op_type in PASSED:
                name, beside = reader.output[0], False
            elif reader.op_type in ACTIVATIONS and beside and (not optional or self._hides(reader, node)):
                low, high = self._clip(reader)
                lower, upper, activation = max(lower, low), min(upper, high), reader.op_type
                name = reader.output[0]
            elif optional and not activation:
                return
            else:
                first = f"{activation} and " if activation and optional else ""
                yield f"its result goes to {first}{reader.op_type} before it is quantized"
        quantizer = self._of(reader, reader.output[0])
        if quantizer.scale is not None and quantizer.scale.size > 1:
            yield "its result has a scale per channel; int8 kernels take one scale"
        if activation and not self._saturates(quantizer, lower, upper):
            zero = 0 if quantizer.zero is None else int(quantizer.zero.reshape(-1)[0])
            yield (
                f"the {activation} behind it stays: the quantizer after it (zero point {zero}) reaches beyond "
                f"{lower:g} to {upper:g}, so it does not do the {activation}'s work"
            )
        if (got := self._kind(quantizer)) != kind:
            yield f"its input is {_NAMES.get(kind, '?')} and its result {_NAMES.get(got, '?')}; int8 kernels need one type"

    def _taker(self, name: str) -> str:
        """Return the operator that alone reads a result, beyond activations and what only moves values; or nothing."""
        while len(readers := self._readers.get(name, [])) == 1 and name not in self._results:
            if readers[0].op_type not in (*ACTIVATIONS, *PASSED):
                return str(readers[0].op_type)
            name = readers[0].output[0]
        return ""

    def _hides(self, activation: onnx.NodeProto, node: onnx.NodeProto) -> bool:
        """Return whether an activation right behind a matrix product has one reader: then only a quantizer that does the
        activation's work lets the product be int8, though without an activation it needs no quantizer at all."""
        return activation.input[0] == node.output[0] and len(self._readers.get(activation.output[0], [])) == 1

    def _before(self, name: str) -> _Quantizer | None:
        """Return the quantizer whose values arrive at `name`, or None."""
        maker = self._makers.get(name)
        while maker is not None and maker.op_type in PASSED:
            maker = self._makers.get(maker.input[0])
        if maker is None or maker.op_type != "DequantizeLinear":
            return None
        return self._of(maker, maker.input[0])

    def _of(self, node: onnx.NodeProto, quantized: str) -> _Quantizer:
        scale, zero = (self._constant(node, place) for place in (1, 2))
        kind = onnx.TensorProto.UINT8
        if len(node.input) > 2 and node.input[2] in self._constants:
            kind = self._constants[node.input[2]].data_type
        elif quantized in self._constants:
            kind = self._constants[quantized].data_type
        dequantizers = self._readers.get(quantized, [])
        readers = [reader for each in dequantizers for reader in self._readers.get(each.output[0], [])]
        return _Quantizer(scale, zero, kind, len(dequantizers) == 1 and len(readers) <= 1)

    def _constant(self, node: onnx.NodeProto, place: int) -> Array | None:
        if len(node.input) <= place or node.input[place] not in self._constants:
            return None
        values: Array = numpy_helper.to_array(self._constants[node.input[place]])
        return values

    def _kind(self, quantizer: _Quantizer) -> int:
        if self.rules == "default" and quantizer.kind == onnx.TensorProto.INT8 and quantizer.single:
            return int(onnx.TensorProto.UINT8)
        return quantizer.kind

    def _clip(self, node: onnx.NodeProto) -> tuple[float, float]:
        if node.op_type == "Relu":
            return 0.0, np.inf
        low, high = self._constant(node, 1), self._constant(node, 2)
        return (
            -np.inf if low is None else float(low.reshape(-1)[0]),
            np.inf if high is None else float(high.reshape(-1)[0]),
        )

    def _saturates(self, quantizer: _Quantizer, lower: float, upper: float) -> bool:
        """Return whether the quantizer's own ends are inside what the activation lets through."""
        if quantizer.scale is None or quantizer.kind not in _LIMITS:
            return False
        low, high = _LIMITS[quantizer.kind]
        scale, zero = float(quantizer.scale.reshape(-1)[0]), 0
        if quantizer.zero is not None:
            zero = int(quantizer.zero.reshape(-1)[0])
        slack = 1e-5 * scale * 255
        return scale * (low - zero) >= lower - slack and scale * (high - zero) <= upper + slack
