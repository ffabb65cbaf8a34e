"""From torch to ONNX. The file is looked at before anybody relies on it: versions, one file only, the same answers.

The older exporter (`dynamo=False`) is used on purpose: the newer one, tried with torch 2.13, writes opset 18 or later
and a second file of weights even for small models, while this one gives IR 8 and the opset that is asked for.
"""

import io
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import torch
from torch import nn

from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.onnx_guard import guard

from ..candidate import Candidate
from ..errors import ExportMismatch
from ..runtime import answers, open_session
from ..training import predict
from ..workload import Workload
from .step import Context, require

PARITY_SAMPLES = 32


@dataclass(frozen=True)
class Export:
    """Export, and fail when the file is not what was asked for."""

    name: ClassVar[str] = "export"
    takes: ClassVar[str] = "module"

    opset: int = 17
    ir: int = 8
    """With opset 17: what onnxruntime 1.19 and all later ones open."""
    parity: float = 1e-4
    """Largest difference to torch's answers that is accepted, as a share of their largest value."""

    def __post_init__(self) -> None:
        require(self.name, {"opset": (9 <= self.opset <= 30, "9 to 30"), "parity": (self.parity > 0, "above 0")})

    @property
    def words(self) -> str:
        """`export opset 17`."""
        return f"export opset {self.opset}"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate as an ONNX file; raise ExportMismatch when it is not what was asked for."""
        model = candidate.copy_of_module(self.name).eval()
        data = self.export(model, workload)
        difference = check_parity(model, data, workload, self.parity)
        return candidate.then(self.words, onnx=data, export_difference=difference)

    def export(self, model: nn.Module, workload: Workload) -> bytes:
        """Return the ONNX file of `model`; raise ExportMismatch when there is none or it has other versions."""
        specs = (workload.input, workload.output)
        free = {
            spec.name: {axis: f"{spec.name}_{axis}" for axis, size in enumerate(spec.shape) if size == -1}
            for spec in specs
        }
        for axes in free.values():
            if 0 in axes:
                axes[0] = "batch"
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that the newer exporter is the default now
            try:
                torch.onnx.export(
                    model,
                    (workload.example(),),
                    buffer,  # type: ignore[arg-type]  # the older exporter takes one, whatever the annotation says
                    opset_version=self.opset,
                    input_names=[workload.input.name],
                    output_names=[workload.output.name],
                    dynamic_axes=free,
                    dynamo=False,
                )
            except Exception as error:
                raise ExportMismatch(f"the model cannot be exported to opset {self.opset}: {error}") from error
        data = buffer.getvalue()
        check_versions(data, self.opset, self.ir)
        return data


def check_versions(data: bytes, opset: int, ir: int) -> None:
    """Raise ExportMismatch unless the file has this opset, this IR version and nothing outside itself."""
    try:
        seen = guard(data)
    except ProtocolError as error:
        raise ExportMismatch(f"the exported file would be refused by every device: {error}") from error
    if seen.opset != opset:
        raise ExportMismatch(f"opset {opset} was asked for and the exporter wrote {seen.opset}")
    if seen.ir_version != ir:
        raise ExportMismatch(f"IR {ir} was asked for and the exporter wrote {seen.ir_version}")
    onnx.checker.check_model(data)


def check_parity(model: nn.Module, data: bytes, workload: Workload, allowed: float) -> float:
    """Return how far the file's answers are from the module's, as a share; raise ExportMismatch above `allowed`."""
    inputs = workload.example(PARITY_SAMPLES)
    want = predict(model, inputs).numpy()
    got = answers(open_session(data, "default"), inputs.numpy())
    if got.shape != want.shape:
        raise ExportMismatch(f"the file answers with the shape {got.shape} and torch with {want.shape}")
    difference = float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-12))
    if not difference <= allowed:
        raise ExportMismatch(
            f"over {len(inputs)} samples the file's answers differ from torch's by {difference:.2g} of the largest value, "
            f"and {allowed:.2g} is allowed"
        )
    return difference
