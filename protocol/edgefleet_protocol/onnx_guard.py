"""May this ONNX file be given to a runtime? Answered from its bytes, before any runtime sees it.

onnxruntime before 1.24 follows external data to any path on the device and crashes on its in-memory address tag; a
file of 1.6 KB with nested functions keeps any version busy for minutes. The rules here refuse all of that. They are
not a proof that a model is harmless: trial and worker have limits on memory, time and network besides.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .errors import BadModel
from .wire_format import BYTES, VARINT, Field, fields, packed_or_single, signed64

MAX_NODES = 50_000
MAX_DEPTH = 8
"""Graphs inside graphs: If, Loop and Scan bodies."""
MAX_TENSOR_BYTES = 2**31
"""A tensor must be smaller, once it is in memory; a file of Protocol Buffers cannot be larger itself."""
MAX_FIELDS = 2_000_000
"""Of all messages together: half a minute on the slowest board. A file of 50,000 nodes has about a million."""
MAX_RANK = 64
ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft", "ai.onnx.ml"})


# Bytes of an element in memory, by TensorProto.DataType; numbers of eight and four bits count as one byte.
_ELEMENT_BYTES = {
    **dict.fromkeys((2, 3, 9, *range(17, 24)), 1),
    **dict.fromkeys((4, 5, 10, 16), 2),
    **dict.fromkeys((1, 6, 12), 4),
    **dict.fromkeys((7, 11, 13, 14), 8),
}
_OTHER_ELEMENT_BYTES = 16
"""Of strings, of complex numbers, and of types that came later."""


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
    seen_fields: int = 0

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """The fields of one message, counted: a file of nothing but tiny fields must not keep a device busy."""
        for item in fields(self.data, start, end):
            self.seen_fields += 1
            if self.seen_fields > MAX_FIELDS:
                raise BadModel(f"it has more than {MAX_FIELDS} fields")
            yield item


def guard(model: bytes | memoryview, external: Mapping[str, int] | None = None) -> Seen:
    """Return what is in the ONNX file `model`; raise BadModel, with the reason, when no runtime should be given it.

    model: its bytes, or a memoryview of a mapped file, of which only the pages beside the tensors are then read.
    external: size in bytes by name of the files that lie beside it and that it may refer to.
    What a graph computes cannot be seen: a ConstantOfShape or an endless Loop passes. Against those stand the limits on
    memory and time of the trial and the worker.
    """
    walk = _Walk(memoryview(model), {} if external is None else external)
    ir_version = opset = graphs = 0
    for item in walk.fields(0, len(walk.data)):
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
                if opset:
                    raise BadModel(f"it imports the default domain twice, as {opset} and {version}")
                opset = version
        elif item.number == 20:
            raise BadModel("it brings graphs for training; export it for inference")
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
    for item in walk.fields(graph.start, graph.end):
        if item.number == 1 and item.wire == BYTES:
            _node(walk, item, depth)
        elif item.number == 5 and item.wire == BYTES:
            _tensor(walk, item)
        elif item.number == 15 and item.wire == BYTES:
            _sparse(walk, item)


def _node(walk: _Walk, node: Field, depth: int) -> None:
    walk.nodes += 1
    if walk.nodes > MAX_NODES:
        raise BadModel(f"it has more than {MAX_NODES} nodes")
    operator = domain = ""
    for item in walk.fields(node.start, node.end):
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
    once: set[int] = set()
    for item in walk.fields(attribute.start, attribute.end):
        if item.wire != BYTES:
            continue
        if item.number in (5, 6, 22):
            _only_once(once, item)
        if item.number in (6, 11):
            _graph(walk, item, depth + 1)
        elif item.number in (5, 10):
            _tensor(walk, item)
        elif item.number in (22, 23):
            _sparse(walk, item)


def _sparse(walk: _Walk, sparse: Field) -> None:
    """A runtime makes the dense tensor of it, so its own dimensions count."""
    elements, size = 1, _OTHER_ELEMENT_BYTES
    once: set[int] = set()
    for item in walk.fields(sparse.start, sparse.end):
        if item.number in (1, 2) and item.wire == BYTES:
            _only_once(once, item)
            size_of_part = _tensor(walk, item)
            size = size_of_part if item.number == 1 else size
        elif item.number == 3 and item.wire in (VARINT, BYTES):
            elements = _elements(walk, item, elements)
    _check_size(elements, size)


def _only_once(once: set[int], item: Field) -> None:
    """Readers merge the copies of a message into one that nobody has looked at as a whole."""
    if item.number in once:
        raise BadModel(f"field {item.number} at byte {item.start} is there twice")
    once.add(item.number)


def _elements(walk: _Walk, dimensions: Field, elements: int) -> int:
    if dimensions.wire == BYTES and dimensions.value > 10 * MAX_RANK:
        raise BadModel(f"a tensor has more than {MAX_RANK} dimensions")
    for dimension in packed_or_single(walk.data, dimensions):
        size = signed64(dimension)
        if size < 0:
            raise BadModel(f"a tensor has a dimension of {size}")
        elements *= size
        # At once: the product of a million large dimensions would take hours.
        if elements > MAX_TENSOR_BYTES:
            raise BadModel(f"a tensor has {elements} elements or more and the limit is {MAX_TENSOR_BYTES}")
    return elements


def _check_size(elements: int, element_bytes: int) -> None:
    if elements * element_bytes >= MAX_TENSOR_BYTES:
        raise BadModel(f"a tensor is {elements * element_bytes} bytes in memory, not below {MAX_TENSOR_BYTES}")


def _tensor(walk: _Walk, tensor: Field) -> int:
    """Check a tensor; return the size of one of its elements in memory."""
    elements, size = 1, _OTHER_ELEMENT_BYTES
    external = False
    location: dict[str, str] = {}
    for item in walk.fields(tensor.start, tensor.end):
        if item.number == 1 and item.wire in (VARINT, BYTES):
            elements = _elements(walk, item, elements)
        elif item.number == 2 and item.wire == VARINT:
            size = _ELEMENT_BYTES.get(item.value & 0xFFFF_FFFF, _OTHER_ELEMENT_BYTES)
        elif item.number == 9 and item.wire == BYTES:
            walk.tensors.append((item.start, item.end))
        elif item.number == 13 and item.wire == BYTES:
            key, value = _entry(walk, item)
            if key in location:
                raise BadModel(f"a tensor names its {key} twice: {location[key]!r} and {value!r}")
            location[key] = value
        elif item.number == 14 and item.wire == VARINT:
            external = item.value & 0xFFFF_FFFF == 1
    _check_size(elements, size)
    if external or location:
        _external(walk, location)
    return size


def _external(walk: _Walk, location: dict[str, str]) -> None:
    name = location.get("location", "")
    if name not in walk.external:
        raise BadModel(f"a tensor lies in the file {name!r}, which the release does not list beside the model")
    offset, length = (_number(name, key, location.get(key, "")) for key in ("offset", "length"))
    if offset + length > walk.external[name]:
        raise BadModel(f"a tensor lies at {offset}+{length} in {name!r}, which has {walk.external[name]} bytes")
    walk.external_files.add(name)


def _number(name: str, key: str, text: str) -> int:
    """Plain digits only: `int` also takes `1_000`, and a runtime reads that as another number."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 19:
        raise BadModel(f"a tensor in {name!r} has the {key} {text[:40]!r}, which is no number of bytes")
    return int(text)


def _opset(walk: _Walk, opset: Field) -> tuple[str, int]:
    domain, version = "", 0
    for item in walk.fields(opset.start, opset.end):
        if item.number == 1 and item.wire == BYTES:
            domain = _text(walk, item)
        elif item.number == 2 and item.wire == VARINT:
            version = item.value
    return domain, version


def _entry(walk: _Walk, entry: Field) -> tuple[str, str]:
    pair = {1: "", 2: ""}
    for item in walk.fields(entry.start, entry.end):
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
