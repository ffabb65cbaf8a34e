"""To int8: ranges are measured on calibration data, and the file says so with QuantizeLinear and DequantizeLinear.

onnxruntime's quantizer does the work (tried with 1.32). Signed weights and signed activations: the form for which Arm
has its fastest kernels, and, with symmetric ranges, the one that TensorRT reads. Relu and Clip that the following
quantizer makes redundant are left out by onnxruntime itself.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Literal

import numpy as np
import onnx
from onnxruntime import quantization

from ..candidate import Candidate
from ..errors import CannotQuantize
from ..invariants import check_invariants
from ..runtime import Array, batches, coverage
from ..workload import Workload
from .step import Context, require

METHODS = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "percentile": quantization.CalibrationMethod.Percentile,
    "entropy": quantization.CalibrationMethod.Entropy,
}
BATCH = 32
MIN_OPSET = 13
"""The first whose QuantizeLinear takes a scale per channel."""


@dataclass(frozen=True)
class QuantizeStatic:
    """Quantize weights per channel and activations per tensor.

    Preserves channels, zeros and alphabets; the last two are looked for in the file that it made.
    """

    name: ClassVar[str] = "quantize_static"
    takes: ClassVar[str] = "onnx"

    method: Literal["minmax", "percentile", "entropy"] = "minmax"
    samples: int = 256
    """Of the calibration data, from its front."""
    per_channel: bool = True
    activations: Literal["signed", "unsigned"] = "signed"
    """Unsigned is what x86 without VNNI is fastest with; Arm and TensorRT want signed."""
    symmetric: bool = False
    """Ranges of activations around zero, as TensorRT demands; they cost a bit where all values have one sign."""
    exclude: tuple[str, ...] = ()
    """Nodes that stay in floating point, by name."""

    def __post_init__(self) -> None:
        rules = {
            "method": (self.method in METHODS, f"one of {', '.join(METHODS)}"),
            "samples": (self.samples >= 1, "1 or more"),
            "symmetric": (not (self.symmetric and self.activations == "unsigned"), "false for unsigned activations"),
        }
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`int8 (minmax)`, `int8 (mse, symmetric)`."""
        more = (", symmetric" if self.symmetric else "") + (", unsigned" if self.activations == "unsigned" else "")
        return f"int8 ({self.method}{more})"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the int8 candidate; raise CannotQuantize, with the reason, when it cannot be."""
        data = candidate.onnx_bytes(self.name)
        self.check(data, workload)
        quantized = self._quantize(data, workload.calibration_inputs[: self.samples].numpy())
        found = coverage(quantized, "arm")
        if not found.int8:
            raise CannotQuantize(
                "nothing in this model has an int8 kernel: no convolution and no matrix product was found"
            )
        check_invariants(candidate, quantized, self.name)
        return candidate.then(self.words, onnx=quantized, int8_kernels=f"{found.int8}/{found.all}")

    def check(self, data: bytes, workload: Workload) -> None:
        """Raise CannotQuantize, with the reason, for what is seen without measuring: samples, versions, names."""
        inputs = workload.calibration_inputs
        if len(inputs) < self.samples:
            raise CannotQuantize(
                f"{self.samples} calibration samples were asked for and the workload has {len(inputs)}; "
                "give it more, or lower `samples`"
            )
        model = onnx.load_from_string(data)
        if any(node.op_type in ("QuantizeLinear", "DequantizeLinear", "QLinearConv") for node in model.graph.node):
            raise CannotQuantize("the model is quantized already; begin with the floating-point one")
        opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
        if opset < MIN_OPSET:
            raise CannotQuantize(
                f"the model has opset {opset} and a scale per channel needs {MIN_OPSET}; export it anew"
            )
        names = {node.name for node in model.graph.node}
        if unknown := [name for name in self.exclude if name not in names]:
            raise CannotQuantize(f"exclude names {unknown}, and the model's nodes are {sorted(names - {''})}")

    def _quantize(self, data: bytes, inputs: Array) -> bytes:
        name = onnx.load_from_string(data).graph.input[0].name
        root, level = logging.getLogger(), logging.getLogger().level
        root.setLevel(logging.ERROR)  # the quantizer advises a preprocessing that the export has done already
        try:
            # Its calibrators print what they do, on the standard output that belongs to --json.
            with redirect_stdout(io.StringIO()), TemporaryDirectory(prefix="edgefleet-") as folder:
                out = Path(folder) / "int8.onnx"
                quantization.quantize_static(
                    onnx.load_from_string(data),
                    out,
                    _Reader(name, inputs),
                    quant_format=quantization.QuantFormat.QDQ,
                    activation_type=quantization.QuantType.QInt8
                    if self.activations == "signed"
                    else quantization.QuantType.QUInt8,
                    weight_type=quantization.QuantType.QInt8,
                    per_channel=self.per_channel,
                    calibrate_method=METHODS[self.method],
                    nodes_to_exclude=list(self.exclude),
                    extra_options={"ActivationSymmetric": self.symmetric},
                )
                return out.read_bytes()
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise CannotQuantize(f"onnxruntime cannot quantize the model: {error}") from error
        finally:
            root.setLevel(level)


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands the calibration data over, some samples at a time."""

    def __init__(self, name: str, inputs: Array) -> None:
        self._name = name
        self._left: Iterator[Array] = batches(np.ascontiguousarray(inputs), BATCH)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next batch, or None at the end."""
        rows = next(self._left, None)
        return None if rows is None else {self._name: rows}
