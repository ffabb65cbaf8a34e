"""Channels brought to one range, so that a scale per tensor fits all of them.

One scale serves all channels of an activation; a channel that is a hundred times smaller than another is left three steps of
255. Between two layers with nothing but Relu, pooling and the like, a channel can be made smaller in the first and larger in
the second by the same factor, and the answers stay: cross-layer equalization, Nagel and others, Data-Free Quantization through
Weight Equalization and Bias Correction, ICCV 2019, section 4.1.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
from onnx import numpy_helper

from ..candidate import Candidate
from ..errors import ExportMismatch, RecipeError
from ..runtime import Array, answers, open_session
from ..workload import Workload
from .step import Context, require

LAYERS = ("Conv", "Gemm")
THROUGH = ("Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Flatten")
"""What does the same to a channel times s as to the channel, times s. Clip does not: it has an upper end."""
PARITY_SAMPLES = 32
PARITY = 1e-3
"""Largest difference of the answers, as a share of the largest."""
MOST = 100.0
"""Largest factor of a channel, so that a channel that is nearly dead does not become noise."""


@dataclass(frozen=True)
class Equalize:
    """Equalize neighbouring layers. Put it before `quantize_static`.

    Preserves channels and zeros. An alphabet is lost: the second layer's inputs are multiplied one by one.
    """

    name: ClassVar[str] = "equalize"
    takes: ClassVar[str] = "onnx"

    rounds: int = 10
    """A channel's factor depends on its neighbours', so all pairs are gone through several times."""

    def __post_init__(self) -> None:
        require(self.name, {"rounds": (1 <= self.rounds <= 100, "1 to 100")})

    @property
    def words(self) -> str:
        """`equalize`."""
        return "equalize"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate; raise RecipeError when no two layers are neighbours in this sense."""
        data = candidate.onnx_bytes(self.name)
        model = onnx.load_from_string(data)
        pairs = neighbours(model.graph)
        if not pairs:
            raise RecipeError(
                "step 'equalize': no two layers have only Relu, pooling or nothing between them; activations with an upper end "
                "(Relu6) and branches keep channels apart: 'swap_activations' with to = \"relu\" removes the first"
            )
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for _ in range(self.rounds):
            for first, second in pairs:
                _even_out(constants, first, second)
        made = model.SerializeToString()
        _check(data, made, workload.calibration_inputs[:PARITY_SAMPLES].numpy())
        return candidate.then(self.words, onnx=made, equalized_pairs=len(pairs))


def neighbours(graph: onnx.GraphProto) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
    """Return the pairs of layers of which the second alone reads what the first makes, through nothing but `THROUGH`."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    constants = {tensor.name for tensor in graph.initializer}
    ends = {output.name for output in graph.output}
    shared = {name for name in constants if len(readers.get(name, ())) > 1}

    def plain(node: onnx.NodeProto) -> bool:
        return (
            node.op_type in LAYERS
            and all(name in constants and name not in shared for name in node.input[1:])
            and (node.op_type != "Gemm" or _is_plain(node))
        )

    found = []
    for first in graph.node:
        if not plain(first):
            continue
        name = first.output[0]
        while name not in ends and len(readers.get(name, ())) == 1:
            reader = readers[name][0]
            if plain(reader) and reader.input[0] == name:
                found.append((first, reader))
                break
            if reader.op_type not in THROUGH:
                break
            name = reader.output[0]
    return found


def _is_plain(node: onnx.NodeProto) -> bool:
    settings = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    return settings.get("alpha", 1.0) == settings.get("beta", 1.0) == 1.0 and not settings.get("transA", 0)


def _even_out(constants: dict[str, onnx.TensorProto], first: onnx.NodeProto, second: onnx.NodeProto) -> None:
    """Bring the channels between two layers nearer to one range, in place."""
    before, after = _weight(constants, first), _weight(constants, second)
    out_axis = _out_axis(first)
    made = np.abs(np.moveaxis(before, out_axis, 0)).reshape(before.shape[out_axis], -1).max(axis=1)
    columns = _inputs_first(after, second)
    # A Flatten between them makes several columns of one channel.
    many, left = divmod(len(columns), len(made))
    if left:
        return
    read = np.abs(columns).reshape(len(made), -1).max(axis=1)
    alive = (made > 0) & (read > 0)
    factor = np.where(alive, np.sqrt(np.where(alive, read / np.where(made > 0, made, 1), 1)), 1.0)
    factor = np.clip(factor, 1 / MOST, MOST).astype(before.dtype)
    shape = [1] * before.ndim
    shape[out_axis] = -1
    _put(constants, first.input[1], before * factor.reshape(shape))
    if len(first.input) > 2 and first.input[2]:
        _put(constants, first.input[2], numpy_helper.to_array(constants[first.input[2]]) * factor)
    each = np.repeat(factor, many)
    _put(constants, second.input[1], _inputs_back(columns / each.reshape(-1, *[1] * (columns.ndim - 1)), after, second))


def _weight(constants: dict[str, onnx.TensorProto], node: onnx.NodeProto) -> Array:
    weight: Array = numpy_helper.to_array(constants[node.input[1]])
    return weight


def _put(constants: dict[str, onnx.TensorProto], name: str, value: Array) -> None:
    constants[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def _out_axis(node: onnx.NodeProto) -> int:
    return 1 if node.op_type == "Gemm" and not _attribute(node, "transB", 0) else 0


def _inputs_first(weight: Array, node: onnx.NodeProto) -> Array:
    """Return the weight with one row for each input channel."""
    if node.op_type == "Gemm":
        return weight if _out_axis(node) == 1 else weight.T
    groups = _attribute(node, "group", 1)
    grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    swapped = np.moveaxis(grouped, 2, 1)
    return swapped.reshape(groups * weight.shape[1], -1)


def _inputs_back(rows: Array, like: Array, node: onnx.NodeProto) -> Array:
    """Undo `_inputs_first`."""
    if node.op_type == "Gemm":
        return rows if _out_axis(node) == 1 else rows.T
    groups = _attribute(node, "group", 1)
    swapped = rows.reshape(groups, like.shape[1], like.shape[0] // groups, *like.shape[2:])
    return np.moveaxis(swapped, 1, 2).reshape(like.shape)


def _check(before: bytes, after: bytes, inputs: Array) -> None:
    want, got = (answers(open_session(data), inputs) for data in (before, after))
    apart = float(np.abs(want - got).max() / max(np.abs(want).max(), 1e-12))
    if not apart <= PARITY:
        raise ExportMismatch(
            f"equalizing changed the answers by {apart:.2%} of their largest value where {PARITY:.2%} may be: leave it out"
        )
