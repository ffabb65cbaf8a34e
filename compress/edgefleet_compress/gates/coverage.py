"""The coverage gate: node by node, which kernel runs under a target's graph rules, taken from the graph that is built.

Every node of the file gets a name of its own, the runtime builds its graph, and the names say what became of each node.
`gates.kernels` says the same from the file alone and gives the reasons; where the two differ, the built graph is right
and the row says so.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from ..runtime import FLOAT, INT8, Rules, open_session, session_keys
from .kernels import Expected, expected, is_heavy

_MARK = re.compile(r"#(\d+)#")
_LAYOUT = ("NchwcTransformer",)
"""Left out: it only moves floating-point convolutions to a layout that x86 likes, and renames them."""
WEIGHTS = {"MatMulNBits", "GatherBlockQuantized"}
BROKEN = "broken"
RECURRENT = {"LSTM", "GRU", "RNN"}


@dataclass(frozen=True)
class Row:
    """One convolution, matrix product or recurrent layer."""

    name: str
    operator: str
    """As the file has it."""
    kernel: str
    """As it runs."""
    format: str
    """`int8`, `float`, `weights` (few-bit weights), `broken` where the file opens and every inference fails, or `gone`
    where the runtime computed it beforehand."""
    why: str = ""
    """Why it is not int8."""
    expected: str = ""
    """What the rules made of the file; another word than `format` is a fault of ours."""


@dataclass(frozen=True)
class Table:
    """All rows of one file under one set of rules."""

    rules: Rules
    rows: tuple[Row, ...]
    nodes: int
    """Operators in the graph that is built."""
    quantizers_left: int
    """QuantizeLinear and DequantizeLinear that run as nodes of their own."""

    @property
    def int8(self) -> int:
        """Nodes on int8 kernels."""
        return sum(row.format == "int8" for row in self.rows)

    @property
    def all(self) -> int:
        """Nodes that run at all."""
        return sum(row.format != "gone" for row in self.rows)

    @property
    def float_rows(self) -> tuple[Row, ...]:
        """What runs in floating point."""
        return tuple(row for row in self.rows if row.format == "float")

    @property
    def disagreements(self) -> tuple[Row, ...]:
        """Rows where our rules and the built graph differ."""
        return tuple(row for row in self.rows if row.expected not in ("", row.format) and row.format != "gone")

    @property
    def flags(self) -> tuple[str, ...]:
        """What a person should know of a file that calls itself quantized: each reason with how many nodes it holds back."""
        if not self.quantizers_left and not self.int8:
            return ()
        broken = tuple(
            f"{row.name} cannot run: the file opens and every inference fails, because {row.why}"
            for row in self.rows
            if row.format == "broken"
        )
        reasons: dict[str, list[str]] = {}
        for row in self.float_rows:
            reasons.setdefault(row.why or "no reason known", []).append(row.name)
        return broken + tuple(
            f"{len(names)} of {self.all} stay in floating point ({', '.join(names[:3])}{', …' if len(names) > 3 else ''}): {why}"
            for why, names in sorted(reasons.items(), key=lambda entry: -len(entry[1]))
        )

    @property
    def words(self) -> str:
        """`10/10 on int8 kernels, 2 quantizers left`."""
        return f"{self.int8}/{self.all} on int8 kernels, {self.quantizers_left} quantizers left, {self.nodes} nodes"


def table(data: bytes, rules: Rules = "arm", name_width: int = 60) -> Table:
    """Return the table of an ONNX file. Raises what onnxruntime raises when it cannot open the file."""
    model = onnx.load_from_string(data)
    said = expected(model, rules)
    heavy: list[tuple[int, str, onnx.NodeProto, Expected | None]] = []
    for number, (place, node) in enumerate(_all_nodes(model.graph)):
        name = node.name or (node.output[0] if node.output else "")
        if is_heavy(node):
            heavy.append((number, name[-name_width:], node, None if place is None else said.get(place)))
        node.name = f"#{number}#"
    built = _built(model, session_keys(data, rules), rules)
    rows = tuple(_row(name, node, built.kernels.get(number), word) for number, name, node, word in heavy)
    return Table(rules, rows, built.nodes, built.quantizers)


@dataclass(frozen=True)
class _Built:
    kernels: dict[int, str]
    nodes: int
    quantizers: int


def _built(model: onnx.ModelProto, keys: dict[str, str], rules: Rules) -> _Built:
    """Return what the runtime makes of each numbered node."""
    with TemporaryDirectory(prefix="edgefleet-") as folder:
        path = Path(folder) / "graph.onnx"
        open_session(model.SerializeToString(), rules, save_graph=path, keys=keys, without=_LAYOUT)
        graph = onnx.load(path).graph
    nodes = [node for _, node in _all_nodes(graph)]
    many = {tensor.name for tensor in graph.initializer if prod(tensor.dims) > 1}
    kernels: dict[int, str] = {}
    for node in nodes:
        if node.op_type not in INT8 | FLOAT | WEIGHTS | RECURRENT:
            continue
        if found := _MARK.search(node.name):
            broken = node.op_type == "QLinearConv" and node.input[1] in many
            kernels[int(found[1])] = BROKEN if broken else node.op_type
    quantizers = sum(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in nodes)
    return _Built(kernels, len(nodes), quantizers)


def _row(name: str, node: onnx.NodeProto, kernel: str | None, said: Expected | None) -> Row:
    if kernel is None:
        return Row(
            name, node.op_type, "", "gone", "computed beforehand, or part of another node", said.format if said else ""
        )
    if kernel == BROKEN:
        why = said.why if said is not None and said.why else "the kernel takes one scale for its input"
        return Row(name, node.op_type, "QLinearConv", "broken", why, said.format if said is not None else "")
    format_ = "int8" if kernel in INT8 else "weights" if kernel in WEIGHTS else "float"
    why = ""
    if format_ == "float":
        why = said.why if said is not None else "it stands in a graph inside a graph"
    return Row(name, node.op_type, kernel, format_, why, said.format if said is not None else "")


def _all_nodes(graph: onnx.GraphProto, top: bool = True) -> Iterator[tuple[int | None, onnx.NodeProto]]:
    """Yield every node with its place in the main graph, or None inside a graph of a node."""
    for place, node in enumerate(graph.node):
        yield (place if top else None), node
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _all_nodes(inner, top=False)
