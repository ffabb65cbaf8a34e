"""Sixteen bits of floating point, for GPUs. On the processors of these boards it is slower than 32, and is refused for them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from ..candidate import Candidate
from ..errors import CannotQuantize, ExportMismatch
from ..runtime import answers, open_session
from ..workload import Workload
from .step import Context, require

PARITY_SAMPLES = 32
SMALLER = 0.75
"""At most this share of the bytes: a file that keeps its 32-bit weights is not called half."""


@dataclass(frozen=True)
class Half:
    """Make weights and activations 16 bits wide; inputs and outputs stay as applications know them.

    Name the provider that the variant is for, `provider = "CUDAExecutionProvider"`: onnxruntime's kernels for Arm processors
    have none for most operators in 16 bits and convert there and back. Preserves channels and zeros.
    """

    name: ClassVar[str] = "half"
    takes: ClassVar[str] = "onnx"

    parity: float = 0.02
    """Largest difference to the answers in 32 bits that is accepted, as a share of their largest value."""
    keep: tuple[str, ...] = ()
    """Nodes that stay in 32 bits, by name: a normalization that sums many values, for example."""

    def __post_init__(self) -> None:
        require(self.name, {"parity": (self.parity > 0, "above 0")})

    @property
    def words(self) -> str:
        """`fp16`."""
        return "fp16"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate; raise ExportMismatch when the answers moved too far, CannotQuantize when it did not shrink."""
        data = candidate.onnx_bytes(self.name)
        model = onnx.load_from_string(data)
        names = {node.name for node in model.graph.node}
        if unknown := [name for name in self.keep if name not in names]:
            raise CannotQuantize(f"keep names {unknown}, and the model's nodes are {sorted(names - {''})}")
        converted = OnnxModel(
            convert_float_to_float16(
                model, keep_io_types=True, node_block_list=list(self.keep), disable_shape_infer=False
            )
        )
        # The converter appends its casts behind what reads them, and leaves shapes that no longer fit.
        converted.topological_sort()
        del converted.model.graph.value_info[:]
        made: bytes = converted.model.SerializeToString()
        if len(made) > SMALLER * len(data):
            raise CannotQuantize(
                f"the file has {len(made)} bytes in 16 bits and {len(data)} before: its weights are not 32-bit floating point"
            )
        inputs = workload.calibration_inputs[:PARITY_SAMPLES].numpy()
        want, got = (answers(open_session(one), inputs) for one in (data, made))
        apart = float(np.abs(want - got).max() / max(np.abs(want).max(), 1e-12))
        if not apart <= self.parity:
            raise ExportMismatch(
                f"in 16 bits the answers differ by {apart:.2%} of their largest value where {self.parity:.2%} may be: "
                "name the nodes that overflow in `keep`"
            )
        return candidate.then(self.words, onnx=made, half_difference=apart)
