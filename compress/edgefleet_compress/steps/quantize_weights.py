"""Weights of matrix products in blocks of 4 or 8 bits, multiplied by a kernel of their own (MatMulNBits); activations stay float.

For transformers and other models whose bytes are in large matrix products. onnxruntime's quantizer does the work
(tried with 1.32). There is no such kernel for a convolution.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import onnx
import onnx_ir  # noqa: F401  # the quantizer below needs it, and onnxruntime does not say so
from onnx import helper, numpy_helper
from onnxruntime.quantization import matmul_nbits_quantizer as nbits

from ..candidate import Candidate
from ..errors import CannotQuantize
from ..workload import Workload
from .step import Context, require

BLOCKS = (16, 32, 64, 128, 256)


@dataclass(frozen=True)
class QuantizeWeights:
    """Quantize the constant side of every matrix product."""

    name: ClassVar[str] = "quantize_weights"
    takes: ClassVar[str] = "onnx"

    bits: int = 4
    block: int = 32
    """Weights that share a scale."""
    accuracy_level: Literal["float", "int8"] = "int8"
    """`int8` quantizes the activations inside the kernel: the fast form, which Arm's kernels need; `float` does not."""

    def __post_init__(self) -> None:
        require(
            self.name, {"bits": (self.bits in (4, 8), "4 or 8"), "block": (self.block in BLOCKS, f"one of {BLOCKS}")}
        )

    @property
    def words(self) -> str:
        """`int4 weights, blocks of 32`."""
        return f"int{self.bits} weights, blocks of {self.block}"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate; raise CannotQuantize, with the reason, when no matrix product has constant weights."""
        data = candidate.onnx_bytes(self.name)
        model = onnx.load_from_string(data)
        _gemm_to_matmul(model.graph)
        level = 4 if self.accuracy_level == "int8" else 1
        quantizer = nbits.MatMulNBitsQuantizer(
            model, block_size=self.block, is_symmetric=True, accuracy_level=level, bits=self.bits
        )
        try:
            quantizer.process()
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise CannotQuantize(f"onnxruntime cannot quantize the model: {error}") from error
        done = quantizer.model.model
        count = sum(node.op_type == "MatMulNBits" for node in done.graph.node)
        if not count:
            raise CannotQuantize(
                f"no matrix product of this model has constant weights of at least {self.block} inputs, and convolutions have no "
                f"{self.bits}-bit kernel. For their bytes on the wire use `alphabet` and quantize_static"
            )
        result: bytes = done.SerializeToString()
        if len(result) >= len(data):
            raise CannotQuantize(
                f"the file would go from {len(data)} to {len(result)} bytes; a larger block costs fewer scales"
            )
        return candidate.then(self.words, onnx=result, nbits_kernels=count)


def _gemm_to_matmul(graph: onnx.GraphProto) -> None:
    """Write each plain Gemm as a matrix product and an addition, which is what the quantizer looks for."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = settings.get("alpha", 1.0) == 1.0 and settings.get("beta", 1.0) == 1.0 and not settings.get("transA", 0)
        if node.op_type != "Gemm" or not plain or node.input[1] not in constants:
            nodes.append(node)
            continue
        weight = node.input[1]
        if settings.get("transB", 0):
            turned = numpy_helper.to_array(constants[weight]).T
            weight = f"{weight}_turned"
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(turned), weight))
        biased = len(node.input) > 2 and node.input[2]
        product = f"{node.output[0]}_product" if biased else node.output[0]
        nodes.append(
            helper.make_node("MatMul", [node.input[0], weight], [product], name=f"{node.name or node.output[0]}_matmul")
        )
        if biased:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]]))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(copies)
