"""onnxruntime sessions under the graph rules of a target. Tried with onnxruntime 1.32."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

Array = npt.NDArray[Any]
Rules = Literal["arm", "default", "plain"]
"""`arm`: the graph that onnxruntime builds on Arm, also on this machine. `default`: the one it builds here. `plain`:
no graph optimization, every node as the file has it."""

onnxruntime.set_default_logger_severity(3)


def session_keys(model: bytes, rules: Rules) -> dict[str, str]:
    """Return the session's configuration entries for `rules`.

    On x86, onnxruntime rewrites signed int8 convolutions to other types than Arm's kernels take, and leaves many
    unfused; `session.qdqisint8allowed` gives Arm's graph. `session.x64quantprecision` undoes the saturation of x86's
    unsigned kernels, so it is added where activations are unsigned, and only there: with signed ones the two together
    mix int8 with uint8, for which there is no kernel, and no session can be made.
    """
    if rules != "arm":
        return {}
    keys = {"session.qdqisint8allowed": "1"}
    kinds = activation_types(model)
    if kinds and onnx.TensorProto.INT8 not in kinds:
        keys["session.x64quantprecision"] = "1"
    return keys


def open_session(
    model: bytes,
    rules: Rules = "arm",
    threads: int = 1,
    save_graph: Path | None = None,
    keys: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
) -> onnxruntime.InferenceSession:
    """Return a session on the CPU provider. save_graph: where to write the graph as it will run. keys: those of
    `session_keys`, where the caller has them already. without: names of optimizers of onnxruntime to leave out.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if rules == "plain":
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in (session_keys(model, rules) if keys is None else keys).items():
        options.add_session_config_entry(key, value)
    if save_graph is not None:
        options.optimized_model_filepath = str(save_graph)
    return onnxruntime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
    )


def answers(session: onnxruntime.InferenceSession, inputs: Array, batch: int = 250) -> Array:
    """Return the first output for all of `inputs`, `batch` at a time."""
    name = session.get_inputs()[0].name
    parts = [session.run(None, {name: rows})[0] for rows in batches(inputs, batch)]
    return np.concatenate(parts)


def batches(inputs: Array, batch: int) -> Iterator[Array]:
    """Yield `inputs` in pieces of at most `batch` samples."""
    for start in range(0, len(inputs), batch):
        yield inputs[start : start + batch]


def activation_types(model: bytes) -> set[int]:
    """Return the ONNX types that QuantizeLinear nodes of `model` make: which signs its activations have."""
    graph = onnx.load_from_string(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            types[node.output[0]] = node.attribute[0].t.data_type
    found = set()
    for node in graph.node:
        if node.op_type == "QuantizeLinear":
            found.add(
                types.get(node.input[2], onnx.TensorProto.UINT8) if len(node.input) > 2 else onnx.TensorProto.UINT8
            )
    return found


@dataclass(frozen=True)
class Coverage:
    """How much of a graph runs on int8 kernels, as the runtime will run it."""

    int8: int
    """Convolutions and matrix products on int8 kernels."""
    all: int
    nodes: int
    operators: frozenset[str]


INT8 = {
    "QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
}  # fmt: skip
FLOAT = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose"}


def coverage(model: bytes, rules: Rules = "arm") -> Coverage:
    """Return what the runtime makes of `model` under `rules`."""
    with TemporaryDirectory(prefix="edgefleet-") as folder:
        path = Path(folder) / "graph.onnx"
        # The file is for this very machine; nobody keeps it.
        open_session(model, rules, save_graph=path)
        operators = [node.op_type for node in onnx.load(path).graph.node]
    int8 = sum(operator in INT8 for operator in operators)
    return Coverage(int8, int8 + sum(operator in FLOAT for operator in operators), len(operators), frozenset(operators))


def folded(model: bytes) -> bytes:
    """Return the file with constants computed, known branches entered and BatchNorm folded: onnxruntime's basic graph
    optimizations, which any machine can run.
    """
    with TemporaryDirectory(prefix="edgefleet-") as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return path.read_bytes()


def run_all(session: onnxruntime.InferenceSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Return every output for samples given one at a time: row i of each input is sample i, with a first dimension of 1."""
    names = [output.name for output in session.get_outputs()]
    count = len(next(iter(feeds.values())))
    parts = [session.run(None, {name: rows[i : i + 1] for name, rows in feeds.items()}) for i in range(count)]
    return {name: _stack([part[place] for part in parts]) for place, name in enumerate(names)}


def _stack(parts: list[Array]) -> Array:
    if len({part.shape for part in parts}) > 1:
        raise ValueError(
            f"the answers have different shapes, {sorted({part.shape for part in parts})[:3]}, from one sample to the next"
        )
    return np.concatenate(parts)
