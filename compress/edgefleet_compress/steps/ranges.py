"""The range of each activation, measured on calibration data: what a scale is made of.

onnxruntime's calibrators do the measuring (tried with 1.32). It has no search for the range with the least squared error,
which is here, over the histogram that its collector makes.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import onnx
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator

from ..errors import CannotQuantize, CompressError
from ..runtime import Array, batches

Method = Literal["minmax", "percentile", "entropy", "mse"]
CALIBRATORS = {
    "minmax": quantization.CalibrationMethod.MinMax,
    "percentile": quantization.CalibrationMethod.Percentile,
    "entropy": quantization.CalibrationMethod.Entropy,
    "mse": quantization.CalibrationMethod.Percentile,  # for its histograms
}
BATCH = 32
BINS = 2048
LEVELS = 255
SHRINKS = np.concatenate([np.linspace(0.2, 0.95, 16), np.linspace(0.96, 1.0, 5)])
"""Shares of the whole range that are tried for each of its ends."""


def measure(data: bytes, inputs: Array, method: Method, *, symmetric: bool = False, percentile: float = 99.999) -> Any:
    """Return the smallest and largest value that each tensor of the float file is to have; raise CannotQuantize.

    inputs: samples, first axis. percentile: share of the values that is kept, for that method.
    """
    name = onnx.load_from_string(data).graph.input[0].name
    options: dict[str, Any] = {"symmetric": symmetric and method != "mse"}
    if method in ("percentile", "mse"):
        options |= {"num_bins": BINS, "percentile": percentile}
    with quiet(), TemporaryDirectory(prefix="edgefleet-") as folder:
        path = Path(folder) / "float.onnx"
        path.write_bytes(data)
        calibrator = create_calibrator(
            path, None, str(Path(folder) / "augmented.onnx"), CALIBRATORS[method], extra_options=options
        )
        calibrator.collect_data(Reader(name, inputs))
        if method == "mse":
            found = {
                tensor: least_error(counts, edges, float(low), float(high), symmetric=symmetric)
                for tensor, (counts, edges, low, high, *_) in calibrator.collector.get_histogram_dict().items()
            }
        else:
            found = {tensor: entry.range_value for tensor, entry in calibrator.compute_data().items()}
    # Under one name, whatever found them: the quantizer asks that the file of ranges and the method agree.
    pairs = {
        tensor: (np.asarray(low, np.float32), np.asarray(high, np.float32)) for tensor, (low, high) in found.items()
    }
    return TensorsData(quantization.CalibrationMethod.MinMax, pairs)


def least_error(
    counts: Array, edges: Array, low: float, high: float, *, symmetric: bool = False
) -> tuple[float, float]:
    """Return the range whose 255 steps lose least of the values in a histogram, by the sum of squared errors.

    Values beyond the range are clipped, which is an error too. Zero is always in the range. counts: for each bin. edges: one
    more. low, high: the smallest and largest value. The method is the "MSE" of Nagel and others, A White Paper on Neural
    Network Quantization, 2021, section 3.1, with a grid of ranges.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        return low, high
    middle, weight = (edges[:-1] + edges[1:]) / 2, counts.astype(np.float64)
    some = weight > 0
    middle, weight = middle[some].astype(np.float64), weight[some]

    def error(lower: float, upper: float) -> float:
        step = (upper - lower) / LEVELS
        rounded = np.clip(np.round((middle - lower) / step), 0, LEVELS) * step + lower
        return float((weight * (middle - rounded) ** 2).sum())

    if symmetric:
        most = max(-low, high)
        best = min(SHRINKS, key=lambda share: error(-most * share, most * share))
        return -most * float(best), most * float(best)
    ends = [(low * a, high * b) for a in (SHRINKS if low < 0 else [1.0]) for b in (SHRINKS if high > 0 else [1.0])]
    return min(((float(a), float(b)) for a, b in ends), key=lambda pair: error(*pair))


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
    """Hands the calibration data over, some samples at a time."""

    def __init__(self, name: str, inputs: Array) -> None:
        self._name = name
        self._left: Iterator[Array] = batches(np.ascontiguousarray(inputs), BATCH)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next batch, or None at the end."""
        rows = next(self._left, None)
        return None if rows is None else {self._name: rows}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what onnxruntime's quantizers print off the terminal, and turn what they raise into CannotQuantize."""
    root, level = logging.getLogger(), logging.getLogger().level
    root.setLevel(logging.ERROR)  # they advise a preprocessing that the export has done already
    try:
        # The calibrators print what they do, on the standard output that belongs to --json.
        with redirect_stdout(io.StringIO()):
            yield
    except CompressError:
        raise
    except Exception as error:  # they raise whatever their helpers meet: KeyError, IndexError, the runtime's own
        words = (str(error).strip().splitlines() or ["it gives no reason"])[0][:300]
        raise CannotQuantize(f"onnxruntime cannot quantize the model: {type(error).__name__}: {words}") from error
    finally:
        root.setLevel(level)
