"""To int8 where it costs nothing, in floating point where it does: which nodes, is measured.

Each convolution and matrix product is quantized alone, all others in floating point: how far the answers move is its
sensitivity. Where int8 throughout loses too much, the most sensitive stay in floating point, one more each time, until
validation loses little enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnx
import torch

from ..candidate import Candidate
from ..errors import CannotQuantize, ToleranceMissed
from ..invariants import check_invariants
from ..runtime import Array, answers, coverage, open_session
from ..workload import Workload
from .quantize_static import QuantizeStatic
from .step import Context, require

HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
JUDGED = 256
"""Calibration samples that sensitivity is judged by."""


@dataclass(frozen=True)
class QuantizeMixed:
    """Quantize as `int8` says, and leave as few nodes as possible in floating point.

    Preserves what `quantize_static` preserves.
    """

    name: ClassVar[str] = "quantize_mixed"
    takes: ClassVar[str] = "onnx"

    tolerance_points: float = 0.1
    """What validation may lose against the float file, in points of the metric (percent, for accuracy)."""
    at_most: int = 8
    """Nodes that may stay in floating point."""
    int8: QuantizeStatic = field(default_factory=QuantizeStatic)

    def __post_init__(self) -> None:
        rules = {
            "tolerance_points": (self.tolerance_points >= 0, "0 or more"),
            "at_most": (self.at_most >= 1, "1 or more"),
        }
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`int8 (minmax) within 0.1 points`."""
        return f"{self.int8.words} within {self.tolerance_points:g} points"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate; raise ToleranceMissed, with the losses, when too many nodes would have to stay."""
        data = candidate.onnx_bytes(self.name)
        self.int8.check(data, workload)
        ranges = self.int8.ranges(data, workload)
        whole = _score(data, workload)
        order: Sequence[str] = ()
        losses: list[str] = []
        for kept in range(self.at_most + 1):
            if kept == 1:
                order = self.sensitive(data, ranges, workload)
            if kept > len(order) > 0:
                break
            float_nodes = order[:kept]
            made = self.int8.write(data, ranges, {*self.int8.exclude, *float_nodes})
            lost = 100 * (whole - _score(made, workload))
            losses.append(f"{kept} float: {lost:.2f}")
            if lost <= self.tolerance_points:
                found = coverage(made, "arm")
                if not found.int8:
                    raise CannotQuantize("every node that has an int8 kernel would have to stay in floating point")
                check_invariants(candidate, made, self.name)
                words = self.int8.words + (f", {kept} nodes float" if kept else "")
                return candidate.then(
                    words, onnx=made, int8_kernels=f"{found.int8}/{found.all}", float_nodes=" ".join(float_nodes)
                )
        raise ToleranceMissed(
            f"with up to {self.at_most} nodes in floating point, validation still loses more than {self.tolerance_points:g} points "
            f"({'; '.join(losses)}). Train inside int8 with the step 'aware', or allow more in `at_most` or `tolerance_points`"
        )

    def sensitive(self, data: bytes, ranges: Any, workload: Workload) -> list[str]:
        """Return the names of the heavy nodes, the one first whose int8 moves the answers most."""
        inputs: Array = workload.calibration_inputs[:JUDGED].numpy()
        want = answers(open_session(data), inputs)
        names = [node.name for node in onnx.load_from_string(data).graph.node if node.op_type in HEAVY]
        names = [name for name in names if name not in self.int8.exclude]
        moved: dict[str, float] = {}
        for name in names:
            alone = self.int8.write(data, ranges, {*self.int8.exclude, *names} - {name})
            moved[name] = float(np.square(answers(open_session(alone), inputs) - want).mean())
        return sorted(names, key=lambda name: -moved[name])


def _score(data: bytes, workload: Workload) -> float:
    split = workload.validation
    outputs = torch.from_numpy(answers(open_session(data), split.inputs.numpy()))
    return float(workload.metric(outputs, split.targets))
