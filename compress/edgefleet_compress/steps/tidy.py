"""Short names, no comments, each constant once: bytes that no runtime needs and every device would download."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
import onnx

from ..candidate import Candidate
from ..errors import ExportMismatch
from ..runtime import answers, open_session
from ..workload import Workload
from .step import Context

SAMPLES = 16


@dataclass(frozen=True)
class Tidy:
    """Rewrite the file without changing one answer."""

    name: ClassVar[str] = "tidy"
    takes: ClassVar[str] = "onnx"

    @property
    def words(self) -> str:
        """`tidy`."""
        return "tidy"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the smaller candidate; raise ExportMismatch should any answer have changed."""
        before = candidate.onnx_bytes(self.name)
        after = tidy(before)
        inputs = workload.example(SAMPLES).numpy()
        if not np.array_equal(answers(open_session(before), inputs), answers(open_session(after), inputs)):
            raise ExportMismatch("tidying changed the model's answers; leave the step 'tidy' out and report this model")
        return candidate.then(self.words, onnx=after)


def tidy(data: bytes) -> bytes:
    """Return the ONNX file with short names and shared constants; inputs and outputs keep their names.

    A file with graphs inside graphs is returned as it is: names there may refer outwards.
    """
    model = onnx.load_from_string(data)
    graph = model.graph
    if any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute):
        return data
    names = {value.name: value.name for value in (*graph.input, *graph.output)}
    names[""] = ""
    _share_constants(graph, names)
    fixed = set(names.values())
    for node in graph.node:
        for kind in (node.input, node.output):
            for place, name in enumerate(kind):
                if name not in names:
                    names[name] = _short(len(names), fixed)
                kind[place] = names[name]
        node.name = ""
        node.doc_string = ""
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
        tensor.doc_string = ""
    _in_order(graph)
    del graph.value_info[:]
    del model.metadata_props[:]
    graph.doc_string = model.doc_string = ""
    graph.name = "g"
    result: bytes = model.SerializeToString()
    return result


def _share_constants(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Leave one of all initializers that hold the same, and drop those that nobody reads."""
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    first: dict[bytes, str] = {}
    same: dict[str, str] = {}
    kept = []
    for tensor in graph.initializer:
        if tensor.name not in used:
            continue
        if tensor.name in names:
            kept.append(tensor)
            continue
        bare = onnx.TensorProto()
        bare.CopyFrom(tensor)
        bare.name = bare.doc_string = ""
        key = bare.SerializeToString()
        same[tensor.name] = first.setdefault(key, tensor.name)
        if same[tensor.name] == tensor.name:
            kept.append(tensor)
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)


def _in_order(graph: onnx.GraphProto) -> None:
    """Put constants of one type beside each other, the small before the large: what is alike compresses together."""
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in graph.initializer]
    del graph.initializer[:]
    graph.initializer.extend(sorted(kept, key=lambda tensor: (tensor.data_type, prod(tensor.dims))))


def _short(number: int, taken: set[str]) -> str:
    """Return a short name that is not in `taken`."""
    digits = "abcdefghijklmnopqrstuvwxyz"
    name = ""
    rest = number
    while True:
        rest, digit = divmod(rest, 26)
        name = digits[digit] + name
        if not rest:
            break
    return name if name not in taken else f"_{name}"
