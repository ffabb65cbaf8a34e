"""To int8 without calibration: weights beforehand, activations measured at each inference. For matrix products and LSTMs only.

onnxruntime's quantizer does the work (tried with 1.32). A convolution quantized so becomes ConvInteger, for which there
is no kernel with signed weights and none that is fast: such models take `quantize_static`.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import onnx
from onnxruntime import quantization

from ..candidate import Candidate
from ..errors import CannotQuantize
from ..runtime import coverage
from ..workload import Workload
from .step import Context

OPERATORS = ("MatMul", "Gemm", "LSTM", "Attention", "EmbedLayerNormalization")


@dataclass(frozen=True)
class QuantizeDynamic:
    """Quantize the weights of matrix products and LSTMs per channel; convolutions stay as they are."""

    name: ClassVar[str] = "quantize_dynamic"
    takes: ClassVar[str] = "onnx"

    @property
    def words(self) -> str:
        """`int8 (dynamic)`."""
        return "int8 (dynamic)"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate; raise CannotQuantize, with the reason, where there is nothing for it to do."""
        data = candidate.onnx_bytes(self.name)
        operators = [node.op_type for node in onnx.load_from_string(data).graph.node]
        if not any(operator in OPERATORS for operator in operators):
            has = "convolutions" if "Conv" in operators else "neither matrix products nor LSTMs"
            raise CannotQuantize(
                f"dynamic quantization is for matrix products and LSTMs and this model has {has}; onnxruntime has no "
                "kernel for a convolution quantized so. Use quantize_static, with a few hundred calibration inputs"
            )
        quantized = quantize(data)
        if len(quantized) >= len(data):
            raise CannotQuantize(
                f"the file would go from {len(data)} to {len(quantized)} bytes: its weights are not where dynamic quantization "
                "works. Use quantize_static"
            )
        return candidate.then(self.words, onnx=quantized, int8_kernels=_covered(quantized))


def quantize(data: bytes) -> bytes:
    """Return the file with int8 weights."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # it advises a preprocessing that the export has done already
    try:
        with TemporaryDirectory(prefix="edgefleet-") as folder:
            out = Path(folder) / "int8.onnx"
            quantization.quantize_dynamic(
                onnx.load_from_string(data),
                out,
                op_types_to_quantize=list(OPERATORS),
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
            )
            return out.read_bytes()
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise CannotQuantize(f"onnxruntime cannot quantize the model: {error}") from error
    finally:
        root.setLevel(level)


def _covered(model: bytes) -> str:
    found = coverage(model, "arm")
    return f"{found.int8}/{found.all}"
