"""May this ONNX file be given to a runtime? Answered from its bytes, before any runtime sees it.

onnxruntime before 1.24 follows external data to any path on the device and crashes on its in-memory address tag; a
file of 1.6 KB with nested functions keeps any version busy for minutes. The rules here refuse all of that. They are
not a proof that a model is harmless: trial and worker have limits on memory, time and network besides.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import BadModel
from .wire_format import BYTES, VARINT, Field, fields, packed_or_single, signed64

MAX_NODES = 50_000
MAX_DEPTH = 8
"""Graphs inside graphs: If, Loop and Scan bodies."""
MAX_TENSOR_BYTES = 2**31
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft", "ai.onnx.ml"})


@dataclass(frozen=True)
class Seen:
    """What the walk found."""

    ir_version: int
    opset: int
    """Of the default domain."""
    nodes: int
    operators: frozenset[str]
    external_files: frozenset[str]
    tensors: tuple[tuple[int, int], ...]
    """(start, end) of each initializer's raw bytes in the file, in file order."""


@dataclass
class _Walk:
    data: memoryview
    external: Mapping[str, int]
    nodes: int = 0
    operators: set[str] = field(default_factory=set)
    external_files: set[str] = field(default_factory=set)
    tensors: list[tuple[int, int]] = field(default_factory=list)


def guard(model: bytes, external: Mapping[str, int] | None = None) -> Seen:
    """Return what is in the ONNX file `model`; raise BadModel, with the reason, when no runtime should be given it.

    external: size in bytes by name of the files that lie beside it and that it may refer to.
    """
    walk = _Walk(memoryview(model), external or {})
    ir_version = opset = graphs = 0
    for item in fields(walk.data, 0, len(model)):
        if item.number == 1 and item.wire == VARINT:
            ir_version = item.value
        elif item.number == 7 and item.wire == BYTES:
            graphs += 1
            _graph(walk, item, 1)
        elif item.number == 8 and item.wire == BYTES:
            domain, version = _opset(walk, item)
            if domain not in ALLOWED_DOMAINS:
                raise BadModel(f"it imports the operator domain {domain!r}; allowed are {sorted(ALLOWED_DOMAINS)}")
            if domain in ("", "ai.onnx"):
                opset = version
        elif item.number == 25:
            raise BadModel("it brings functions of its own; export it with functions inlined")
    if graphs != 1:
        raise BadModel(f"it holds {graphs} graphs, not one")
    if not ir_version or not opset:
        raise BadModel(f"it names IR version {ir_version} and opset {opset}; both must be there")
    return Seen(
        ir_version=ir_version,
        opset=opset,
        nodes=walk.nodes,
        operators=frozenset(walk.operators),
        external_files=frozenset(walk.external_files),
        tensors=tuple(sorted(walk.tensors)),
    )


def _graph(walk: _Walk, graph: Field, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadModel(f"graphs are nested deeper than {MAX_DEPTH}")
    for item in fields(walk.data, graph.start, graph.end):
        if item.number == 1 and item.wire == BYTES:
            _node(walk, item, depth)
        elif item.number == 5 and item.wire == BYTES:
            _tensor(walk, item)
        elif item.number == 15 and item.wire == BYTES:
            for part in fields(walk.data, item.start, item.end):
                if part.number in (1, 2) and part.wire == BYTES:
                    _tensor(walk, part)


def _node(walk: _Walk, node: Field, depth: int) -> None:
    walk.nodes += 1
    if walk.nodes > MAX_NODES:
        raise BadModel(f"it has more than {MAX_NODES} nodes")
    operator = domain = ""
    for item in fields(walk.data, node.start, node.end):
        if item.number == 4 and item.wire == BYTES:
            operator = _text(walk, item)
        elif item.number == 7 and item.wire == BYTES:
            domain = _text(walk, item)
        elif item.number == 5 and item.wire == BYTES:
            _attribute(walk, item, depth)
    if domain not in ALLOWED_DOMAINS:
        raise BadModel(f"node {operator} is of the domain {domain!r}; allowed are {sorted(ALLOWED_DOMAINS)}")
    walk.operators.add(f"{domain}.{operator}" if domain not in ("", "ai.onnx") else operator)


def _attribute(walk: _Walk, attribute: Field, depth: int) -> None:
    for item in fields(walk.data, attribute.start, attribute.end):
        if item.wire != BYTES:
            continue
        if item.number in (6, 11):
            _graph(walk, item, depth + 1)
        elif item.number in (5, 10):
            _tensor(walk, item)
        elif item.number in (22, 23):
            for part in fields(walk.data, item.start, item.end):
                if part.number in (1, 2) and part.wire == BYTES:
                    _tensor(walk, part)


def _tensor(walk: _Walk, tensor: Field) -> None:
    elements = 1
    external = False
    location: dict[str, str] = {}
    for item in fields(walk.data, tensor.start, tensor.end):
        if item.number == 1 and item.wire in (VARINT, BYTES):
            for dimension in packed_or_single(walk.data, item):
                size = signed64(dimension)
                if size < 0:
                    raise BadModel(f"a tensor has a dimension of {size}")
                elements *= size
        elif item.number == 9 and item.wire == BYTES:
            walk.tensors.append((item.start, item.end))
        elif item.number == 13 and item.wire == BYTES:
            key, value = _entry(walk, item)
            location[key] = value
        elif item.number == 14 and item.wire == VARINT:
            external = item.value == 1
    if elements > MAX_TENSOR_BYTES:
        raise BadModel(f"a tensor has {elements} elements and the limit is {MAX_TENSOR_BYTES}")
    if external or location:
        _external(walk, location)


def _external(walk: _Walk, location: dict[str, str]) -> None:
    name = location.get("location", "")
    if name not in walk.external:
        raise BadModel(f"a tensor lies in the file {name!r}, which the release does not list beside the model")
    try:
        offset = int(location.get("offset") or 0)
        length = int(location.get("length") or 0)
    except ValueError as error:
        raise BadModel(f"a tensor in {name!r} has an offset or length that is no number") from error
    if offset < 0 or length < 0 or offset + length > walk.external[name]:
        raise BadModel(f"a tensor lies at {offset}+{length} in {name!r}, which has {walk.external[name]} bytes")
    walk.external_files.add(name)


def _opset(walk: _Walk, opset: Field) -> tuple[str, int]:
    domain, version = "", 0
    for item in fields(walk.data, opset.start, opset.end):
        if item.number == 1 and item.wire == BYTES:
            domain = _text(walk, item)
        elif item.number == 2 and item.wire == VARINT:
            version = item.value
    return domain, version


def _entry(walk: _Walk, entry: Field) -> tuple[str, str]:
    pair = {1: "", 2: ""}
    for item in fields(walk.data, entry.start, entry.end):
        if item.number in pair and item.wire == BYTES:
            pair[item.number] = _text(walk, item)
    return pair[1], pair[2]


def _text(walk: _Walk, item: Field) -> str:
    if item.value > 4096:
        raise BadModel(f"a name of {item.value} bytes")
    try:
        return bytes(walk.data[item.start : item.end]).decode()
    except UnicodeDecodeError as error:
        raise BadModel("a name that is not UTF-8") from error
