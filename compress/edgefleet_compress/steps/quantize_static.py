"""To int8: ranges are measured on calibration data, and the file says so with QuantizeLinear and DequantizeLinear.

onnxruntime's quantizer does the work (tried with 1.32). Signed weights and signed activations: the form for which Arm
has its fastest kernels, and, with symmetric ranges, the one that TensorRT reads. Relu and Clip that the following
quantizer makes redundant are left out by onnxruntime itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal, get_args

import onnx
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import save_tensors_data

from ..candidate import Candidate
from ..errors import CannotQuantize
from ..invariants import check_invariants
from ..runtime import Array, coverage
from ..workload import Workload
from .correct_bias import corrected
from .head import tail
from .ranges import Method, measure, quiet
from .scales import overrides
from .step import Context, require

METHODS = get_args(Method)
MIN_OPSET = 13
"""The first whose QuantizeLinear takes a scale per channel."""


@dataclass(frozen=True)
class QuantizeStatic:
    """Quantize weights per channel and activations per tensor.

    Preserves channels, zeros and alphabets; the last two are looked for in the file that it made.
    """

    name: ClassVar[str] = "quantize_static"
    takes: ClassVar[str] = "onnx"

    method: Literal["minmax", "percentile", "entropy", "mse"] = "minmax"
    percentile: float = 99.999
    """Share of an activation's values that its range holds, for the method of that name."""
    samples: int = 256
    """Of the calibration data, from its front."""
    per_channel: bool = True
    activations: Literal["signed", "unsigned"] = "signed"
    """Unsigned is what x86 without VNNI is fastest with; Arm and TensorRT want signed."""
    symmetric: bool = False
    """Ranges of activations around zero, as TensorRT demands; they cost a bit where all values have one sign."""
    correct_bias: bool = False
    """Whether each layer's mean output is brought back by its bias."""
    head: Literal["int8", "float"] = "int8"
    """Float leaves what stands behind the last convolutions and matrix products as it was: where a detector puts boxes and scores into
    one tensor, one scale for both leaves the scores nothing."""
    exclude: tuple[str, ...] = ()
    """Nodes that stay in floating point, by name."""
    short_scales: bool = False
    """Whether scales of weights get a mantissa of five bits and letters of an alphabet are written as small whole numbers: the
    wire gets shorter, weights a little coarser."""

    def __post_init__(self) -> None:
        rules = {
            "method": (self.method in METHODS, f"one of {', '.join(METHODS)}"),
            "percentile": (50 < self.percentile <= 100, "above 50, at most 100"),
            "samples": (self.samples >= 1, "1 or more"),
            "short_scales": (
                self.per_channel or not self.short_scales,
                "false unless weights are quantized per channel",
            ),
            "symmetric": (not (self.symmetric and self.activations == "unsigned"), "false for unsigned activations"),
        }
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`int8 (minmax)`, `int8 (mse, symmetric)`."""
        more = (", symmetric" if self.symmetric else "") + (", unsigned" if self.activations == "unsigned" else "")
        more += ", bias corrected" if self.correct_bias else ""
        more += ", head float" if self.head == "float" else ""
        more += ", short scales" if self.short_scales else ""
        return f"int8 ({self.method}{more})"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the int8 candidate; raise CannotQuantize, with the reason, when it cannot be."""
        data = candidate.onnx_bytes(self.name)
        self.check(data, workload)
        quantized = self.write(data, self.ranges(data, workload), self.exclude, candidate.facts.get("alphabet"))
        biases = 0
        if self.correct_bias:
            quantized, biases = corrected(data, quantized, self._inputs(workload))
        found = coverage(quantized, "arm")
        if not found.int8:
            raise CannotQuantize(
                "nothing in this model has an int8 kernel: no convolution and no matrix product was found"
            )
        check_invariants(candidate, quantized, self.name)
        made = candidate.then(self.words, onnx=quantized, int8_kernels=f"{found.int8}/{found.all}")
        return made.then_fact(biases_corrected=biases) if self.correct_bias else made

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

    def ranges(self, data: bytes, workload: Workload) -> Any:
        """Return the measured range of each tensor of the float file."""
        return measure(data, self._inputs(workload), self.method, symmetric=self.symmetric, percentile=self.percentile)

    def _inputs(self, workload: Workload) -> Array:
        inputs: Array = workload.calibration_inputs[: self.samples].numpy()
        return inputs

    def write(self, data: bytes, ranges: Any, exclude: Iterable[str], alphabet: Any = None) -> bytes:
        """Return the int8 file in which all nodes but those in `exclude` are quantized. alphabet: how many values a channel's
        weights have, where they are letters."""
        options: dict[str, Any] = {"ActivationSymmetric": self.symmetric}
        if self.short_scales:
            options["TensorQuantOverrides"] = overrides(data, None if alphabet is None else int(alphabet))
        unsigned = self.activations == "unsigned"
        with quiet(), TemporaryDirectory(prefix="edgefleet-") as folder:
            out, cache = Path(folder) / "int8.onnx", Path(folder) / "ranges.json"
            save_tensors_data(ranges, cache)
            quantization.quantize_static(
                onnx.load_from_string(data),
                out,
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8 if unsigned else quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=self.per_channel,
                calibrate_method=ranges.calibration_method,
                calibration_cache_path=cache,
                nodes_to_exclude=sorted({*exclude, *(tail(data) if self.head == "float" else ())}),
                extra_options=options,
            )
            return out.read_bytes()
