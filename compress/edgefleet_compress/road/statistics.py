"""What the BatchNorms of a file say of the data it was trained on: mean and variance of every channel before each.

Noise of the right level and spread is looked for, by trying: the pair at which the statistics before the BatchNorms are
nearest to those that they keep. Source of the idea: data-free quantization by the statistics of BatchNorm (ZeroQ, 2020).
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from ..runtime import Array, open_session

SCALES = (0.1, 0.25, 0.5, 1.0, 2.0, 64.0)
SHIFTS = (0.0, 0.5, 127.5)
MOST = 8
"""BatchNorms that are looked at: the first ones are nearest to the input."""
SAMPLES = 4


def fit(model: onnx.ModelProto, noise: Mapping[str, Array]) -> tuple[float, float] | None:
    """Return (spread, level) of the best noise, or None where the file has no BatchNorm."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    norms = [
        node
        for node in model.graph.node
        if node.op_type == "BatchNormalization" and all(name in constants for name in node.input[3:5])
    ][:MOST]
    if not norms:
        return None
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    known = {value.name for value in (*probe.graph.output, *probe.graph.input)}
    wanted = [node.input[0] for node in norms if node.input[0] not in known]
    for name in dict.fromkeys(wanted):
        probe.graph.output.append(onnx.ValueInfoProto(name=name))
    session = open_session(probe.SerializeToString(), "plain")
    names = [
        name
        for name in dict.fromkeys(node.input[0] for node in norms)
        if name in {o.name for o in session.get_outputs()}
    ]
    best: tuple[float, tuple[float, float]] | None = None
    for scale in SCALES:
        for shift in SHIFTS:
            tried = [
                session.run(names, {
                    name: (rows[i : i + 1] * scale + shift).astype(rows.dtype) if rows.dtype.kind == "f" else rows[i : i + 1]
                    for name, rows in noise.items()
                })
                for i in range(SAMPLES)
            ]  # fmt: skip
            seen = {name: np.concatenate([part[place] for part in tried]) for place, name in enumerate(names)}
            miss = float(
                np.mean([_distance(node, seen[node.input[0]], constants) for node in norms if node.input[0] in seen])
            )
            if np.isfinite(miss) and (best is None or miss < best[0]):
                best = (miss, (scale, shift))
    return best[1] if best is not None else None


def _distance(node: onnx.NodeProto, values: Array, constants: Mapping[str, onnx.TensorProto]) -> float:
    """Return how far two normal distributions are apart, as the mean over channels of the KL divergence."""
    mean, variance = (numpy_helper.to_array(constants[name]).astype(np.float64) for name in node.input[3:5])
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    got_mean, got_variance = values.mean(axes, dtype=np.float64), values.var(axes, dtype=np.float64) + 1e-9
    variance = variance + 1e-9
    parts = 0.5 * (np.log(variance / got_variance) + (got_variance + (got_mean - mean) ** 2) / variance - 1)
    return float(np.mean(parts))
