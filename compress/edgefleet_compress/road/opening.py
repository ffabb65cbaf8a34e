"""An ONNX file as it arrives, brought into the form that the rest works on, or refused with the reason.

Weights beside the file are taken in, constants leave the list of inputs, unused operator sets are dropped, the opset is
raised where a scale per channel needs it, and branches on values that are known are entered.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, version_converter

from ..errors import RoadRefused

MIN_OPSET = 13
"""The first whose DequantizeLinear takes a scale per channel."""
KNOWN_OPSET = 23
"""Above it, quantizers and the runtimes of most devices have not been tried."""
MIN_IR = 8
DOMAINS = ("", "ai.onnx", "com.microsoft", "ai.onnx.ml")
QUANTIZED = {
    "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger",
    "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulNBits", "MatMulIntegerToFloat", "QGemm",
}  # fmt: skip
FOLDS = 3
BRANCHES = ("If", "Loop", "Scan")


@dataclass(frozen=True)
class Opened:
    """A file in the form that the rest works on."""

    model: onnx.ModelProto
    file_bytes: int
    """Of the file as it arrived, with the weights beside it."""
    notes: tuple[str, ...] = ()
    """What was changed, in words."""

    @property
    def data(self) -> bytes:
        """The file."""
        result: bytes = self.model.SerializeToString()
        return result


def open_file(path: Path, fixed: Mapping[str, float] | None = None) -> Opened:
    """Return the model of `path`. fixed: inputs that are to be constants. Raise RoadRefused with the reason."""
    head = path.read_bytes()[:4]
    if head[:2] == b"PK" or head[:1] == b"\x80":
        raise RoadRefused(
            f"{path} is a pickle or an archive, as torch writes its checkpoints, and opening one can run anything. Export "
            "the model to ONNX where it was trained, or bring it as a workload: edgefleet compress example DIR"
        )
    try:
        if missing := sorted(name for name in _external(path) if not (path.parent / name).is_file()):
            raise RoadRefused(f"{path} keeps weights in a file beside it that is not there: {', '.join(missing)}")
        model = onnx.load(str(path))
    except RoadRefused:
        raise
    except Exception as error:  # onnx raises what protobuf and its checker raise, which have no common base
        raise RoadRefused(f"{path} is not an ONNX file that can be read: {_first(error)}") from error
    if not model.graph.node:
        raise RoadRefused(f"{path} is not an ONNX file with a graph in it")
    beside = sum((path.parent / name).stat().st_size for name in _external(path))
    opened = Opened(model, path.stat().st_size + beside)
    if beside:
        opened = replace(opened, notes=("its weights lay in a file beside it and are inside now",))
    for step in (_named, _no_constant_inputs, _domains, _not_quantized, _versions):
        opened = step(opened)
    opened = _fix(opened, fixed or {})
    return _branches(opened)


def open_bytes(data: bytes, like: bytes) -> bytes:
    """Return a file that the runtime wrote, with names for its nodes and the versions of `like`."""
    model, old = onnx.load_from_string(data), onnx.load_from_string(like)
    model.ir_version = max(MIN_IR, old.ir_version)
    return _domains(_named(Opened(model, len(data)))).data


def every_node(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yield the nodes of a graph and of the graphs inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from every_node(inner)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the default operator set."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def _external(path: Path) -> set[str]:
    bare = onnx.load(str(path), load_external_data=False)
    return {
        entry.value for tensor in bare.graph.initializer for entry in tensor.external_data if entry.key == "location"
    }


def _named(opened: Opened) -> Opened:
    """Give each node a name: quantizers exclude by name."""
    seen: set[str] = set()
    for number, node in enumerate(every_node(opened.model.graph)):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)
    return opened


def _no_constant_inputs(opened: Opened) -> Opened:
    graph = opened.model.graph
    constants = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name not in constants]
    if len(kept) == len(graph.input):
        return opened
    kept = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in kept]
    del graph.input[:]
    graph.input.extend(kept)
    return replace(opened, notes=(*opened.notes, "its weights stood among its inputs and do not any more"))


def _domains(opened: Opened) -> Opened:
    """Drop operator sets that no node uses; name operators that nothing knows."""
    model = opened.model
    own = {(function.domain, function.name) for function in model.functions}
    used = {node.domain for node in every_node(model.graph)} | {f.domain for f in model.functions} | {""}
    unknown = sorted(
        {
            f"{node.domain or 'ai.onnx'}::{node.op_type}"
            for node in every_node(model.graph)
            if (node.domain, node.op_type) not in own
            and (
                node.domain not in DOMAINS
                or (node.domain in ("", "ai.onnx") and not onnx.defs.has(node.op_type, domain=""))
            )
        }
    )
    if unknown:
        raise RoadRefused(
            f"no runtime of the fleet knows these operators: {', '.join(unknown)}. Export the model without them: agents "
            f"open files of the operator sets {', '.join(name or 'ai.onnx' for name in DOMAINS if name != 'ai.onnx')} only"
        )
    kept = [entry for entry in model.opset_import if entry.domain in used or entry.domain == "ai.onnx"]
    kept = [onnx.OperatorSetIdProto.FromString(entry.SerializeToString()) for entry in kept]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return opened


def _not_quantized(opened: Opened) -> Opened:
    found = sorted({node.op_type for node in every_node(opened.model.graph)} & QUANTIZED)
    if found:
        raise RoadRefused(
            f"the file is quantized already: it has {', '.join(found)}. Begin with the floating-point one; to see what runs on "
            "int8 kernels in this one: edgefleet compress coverage FILE"
        )
    return opened


def _versions(opened: Opened) -> Opened:
    model, notes = opened.model, opened.notes
    had = opset_of(model)
    if had > KNOWN_OPSET:
        raise RoadRefused(
            f"the file has opset {had}; {KNOWN_OPSET} is the highest that the runtimes of the fleet's boards open. Export it "
            "with opset 17, which all of them open"
        )
    if had < MIN_OPSET:
        try:
            model.ir_version = max(model.ir_version, 4)
            model = version_converter.convert_version(model, MIN_OPSET)
        except Exception as error:  # its own exception is not exported
            raise RoadRefused(
                f"the file has opset {had}, int8 weights with a scale per channel need {MIN_OPSET}, and the converter of onnx "
                f"cannot raise it: {_first(error)}. Export the model anew with opset 17"
            ) from error
        notes = (*notes, f"opset {had} raised to {MIN_OPSET}: a scale per channel needs it")
    if model.ir_version < MIN_IR:
        model.ir_version = MIN_IR
    return _named(replace(opened, model=model, notes=notes))


def _fix(opened: Opened, fixed: Mapping[str, float]) -> Opened:
    graph = opened.model.graph
    inputs = {value.name: value for value in graph.input}
    notes = []
    for name, number in fixed.items():
        if name not in inputs:
            raise RoadRefused(f"there is no input {name!r} to fix; the inputs are {', '.join(inputs)}")
        kind = onnx.helper.tensor_dtype_to_np_dtype(inputs[name].type.tensor_type.elem_type)
        shape = [dimension.dim_value or 1 for dimension in inputs[name].type.tensor_type.shape.dim]
        graph.initializer.append(numpy_helper.from_array(np.full(shape, number, kind), name))
        graph.input.remove(inputs[name])
        notes.append(f"its input {name} is always {number:g}")
    return replace(opened, notes=(*opened.notes, *notes))


def _branches(opened: Opened) -> Opened:
    """Enter branches whose condition is known, through the runtime's own optimizer; name those that stay."""
    if not any(node.op_type in BRANCHES for node in opened.model.graph.node):
        return opened
    from ..runtime import folded

    found = opened.data
    for _ in range(FOLDS):  # a branch inside a branch is seen once the outer one is entered
        found = folded(found)
    model = onnx.load_from_string(found)
    model.ir_version = max(MIN_IR, opened.model.ir_version)
    entered = _domains(_named(replace(opened, model=model)))
    notes = opened.notes
    before, after = (sum(n.op_type in BRANCHES for n in every_node(m.graph)) for m in (opened.model, model))
    if after < before:
        opened, notes = entered, (*notes, "the branch that is always taken was entered")
    if left := sorted({node.op_type for node in opened.model.graph.node} & set(BRANCHES)):
        inside = sum(1 for _ in every_node(opened.model.graph)) - len(opened.model.graph.node)
        hint = (
            ""
            if len(notes) > len(opened.notes)
            else (". Where a branch depends on an input that never changes, fix it: --fix NAME=VALUE")
        )
        notes = (
            *notes,
            f"control flow stays ({', '.join(left)}, {inside} nodes inside): what is inside is quantized without "
            f"calibration, if at all{hint}",
        )
    return replace(opened, notes=notes)


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
