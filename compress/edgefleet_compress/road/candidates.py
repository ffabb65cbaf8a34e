"""Ways to quantize one file. Ranges are measured once; each way is then a matter of a second or two.

onnxruntime's quantizers do the work (tried with 1.32). Which nodes stay in floating point is what ways differ in.
"""

import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from ..errors import CannotQuantize
from ..runtime import Array
from ..steps.head import HEAVY
from .opening import every_node

DYNAMIC = ("MatMul", "Gemm", "LSTM", "Attention")
EVERY = tuple(sorted({*QLinearOpsRegistry, *QDQRegistry}))
"""Operators that onnxruntime has a quantizer for."""


class Calibrated:
    """A float file and the range of each of its tensors."""

    def __init__(self, data: bytes, feeds: Mapping[str, Array]) -> None:
        """Measure the ranges (smallest and largest value); raise CannotQuantize when that fails."""
        self.data = data
        with _quiet(), TemporaryDirectory(prefix="edgefleet-") as folder:
            path = Path(folder) / "float.onnx"
            path.write_bytes(data)
            calibrator = create_calibrator(
                path, list(EVERY), str(Path(folder) / "augmented.onnx"), quantization.CalibrationMethod.MinMax
            )
            calibrator.collect_data(_Reader(feeds))
            self._ranges = calibrator.compute_data()

    def quantized(self, operators: tuple[str, ...], float_nodes: frozenset[str]) -> bytes:
        """Return the int8 file in which these kinds of nodes, but not those named, are quantized."""
        with _quiet():
            model = onnx.shape_inference.infer_shapes(onnx.load_from_string(self.data))
            quantizer = QDQQuantizer(
                model, per_channel=True, reduce_range=False,
                weight_qType=quantization.QuantType.QInt8, activation_qType=quantization.QuantType.QInt8,
                tensors_range=self._ranges, nodes_to_quantize=[], nodes_to_exclude=sorted(float_nodes),
                op_types_to_quantize=list(operators), extra_options={},
            )  # fmt: skip
            quantizer.quantize_model()
            result: bytes = _bare(quantizer.model.model)
        return result


def dynamic(data: bytes, operators: tuple[str, ...] = DYNAMIC) -> bytes:
    """Return the file with int8 weights of matrix products and LSTMs, also inside branches; raise CannotQuantize."""
    with _quiet(), TemporaryDirectory(prefix="edgefleet-") as folder:
        out = Path(folder) / "int8.onnx"
        quantization.quantize_dynamic(
            onnx.load_from_string(data), out, op_types_to_quantize=list(operators), per_channel=True,
            weight_type=quantization.QuantType.QInt8, extra_options={"EnableSubgraph": True},
        )  # fmt: skip
        return _bare(onnx.load(out))


def heavy_names(data: bytes) -> list[str]:
    """Return the names of convolutions and matrix products, in the order of the file."""
    return [node.name for node in onnx.load_from_string(data).graph.node if node.op_type in HEAVY]


def operators_of(data: bytes) -> set[str]:
    """Return the kinds of nodes, those inside branches too."""
    return {node.op_type for node in every_node(onnx.load_from_string(data).graph)}


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Mapping[str, Array]) -> None:
        count = len(next(iter(feeds.values())))
        self._left = iter([{name: rows[i : i + 1] for name, rows in feeds.items()} for i in range(count)])

    def get_next(self) -> dict[str, Array] | None:
        """Return the next sample, or None at the end."""
        return next(self._left, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice off the terminal, and turn whatever its quantizers raise into CannotQuantize."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.CRITICAL)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except (OSError, CannotQuantize):
        raise
    except Exception as error:  # they raise whatever their helpers meet: KeyError, IndexError, the runtime's own
        words = (str(error).strip().splitlines() or [""])[0][:200]
        raise CannotQuantize(f"onnxruntime's quantizer failed: {type(error).__name__}: {words}") from error
    finally:
        root.setLevel(level)


def _bare(model: Any) -> bytes:
    """Return the file without operator sets that no node uses, which devices would refuse."""
    used = {node.domain for node in every_node(model.graph)} | {""}
    kept = [onnx.OperatorSetIdProto.FromString(e.SerializeToString()) for e in model.opset_import if e.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    del model.graph.value_info[:]
    result: bytes = model.SerializeToString()
    return result
