"""The guard: honest files pass, and nothing hostile that bytes can show reaches a runtime."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_protocol import onnx_guard
from edgefleet_protocol.errors import BadModel
from edgefleet_protocol.onnx_guard import guard
from tests.protocol.wire import attribute, block, entry, graph, model, node, number, opset, sparse, tensor, varint

DATA = Path(__file__).parent / "data"
BESIDE = {"weights.bin": 48}
RELU = node("Relu")


def outside(**entries: str) -> bytes:
    return model(graph(RELU, tensors=(tensor(4, outside=entries),)))


def nested(levels: int) -> bytes:
    body = graph(RELU)
    for _ in range(levels):
        body = graph(node("If", attribute("then_branch", block(6, body))))
    return model(body)


def hidden_in_a_subgraph(part: bytes) -> bytes:
    constant = node("Constant", attribute("value", part))
    return model(graph(node("If", attribute("then_branch", block(6, graph(constant))))))


EVIL = tensor(4, outside={"location": "../secret.bin"})

HOSTILE = {
    # External data: only names that the release lists, and only inside those files.
    "parent folder": (outside(location="../secret.bin"), "'../secret.bin'"),
    "down and up again": (outside(location="sub/../../secret.bin"), "does not list"),
    "absolute path": (outside(location="/etc/passwd"), "'/etc/passwd'"),
    "name of a link that is not listed": (outside(location="link.bin"), "'link.bin'"),
    "listed name by another way": (outside(location="./weights.bin"), "does not list"),
    "listed name and a zero byte": (outside(location="weights.bin\0.txt"), "does not list"),
    "in-memory address tag": (outside(location="*/_ORT_MEM_ADDR_/*", offset="4096", length="16"), "_ORT_MEM_ADDR_"),
    "no location": (outside(), "in the file ''"),
    "offset beyond the file": (outside(location="weights.bin", offset=str(1 << 40)), "which has 48 bytes"),
    "length beyond the file": (outside(location="weights.bin", offset="40", length="16"), "40+16"),
    "negative offset": (outside(location="weights.bin", offset="-16"), "'-16'"),
    "negative length": (outside(location="weights.bin", length="-1"), "'-1'"),
    "offset with underscores": (outside(location="weights.bin", offset="1_0"), "no number of bytes"),
    "offset in other digits": (outside(location="weights.bin", offset="\u0661"), "no number of bytes"),
    "offset without end": (outside(location="weights.bin", offset="9" * 4000), "no number of bytes"),
    "location twice": (
        model(graph(RELU, tensors=(tensor(4, outside={"location": "../x"}) + entry("location", "weights.bin"),))),
        "names its location twice",
    ),
    "external data that is not marked as such": (
        model(graph(RELU, tensors=(tensor(4) + entry("location", "../x"),))),
        "../x",
    ),
    "marked in bits that a reader drops": (
        model(graph(RELU, tensors=(tensor(4) + number(14, 2**32 + 1),))),
        "in the file ''",
    ),
    "hidden in a subgraph's constant": (hidden_in_a_subgraph(block(5, EVIL)), "../secret.bin"),
    "hidden in a list of tensors": (hidden_in_a_subgraph(block(10, EVIL)), "../secret.bin"),
    "hidden in a list of graphs": (
        model(graph(node("X", attribute("g", block(11, graph(RELU, tensors=(EVIL,))))))),
        "../secret.bin",
    ),
    "hidden in sparse values": (model(graph(RELU, sparse_tensors=(sparse(EVIL, tensor(1), 4),))), "../secret.bin"),
    "hidden in sparse indices": (model(graph(RELU, sparse_tensors=(sparse(tensor(1), EVIL, 4),))), "../secret.bin"),
    "hidden in a sparse attribute": (hidden_in_a_subgraph(block(22, sparse(EVIL, tensor(1), 4))), "../secret.bin"),
    "hidden in a sparse list": (hidden_in_a_subgraph(block(23, sparse(EVIL, tensor(1), 4))), "../secret.bin"),
    # Readers in C++ keep 32 bits of a tag: onnxruntime follows this one, so the guard must not skip it.
    "hidden behind a tag of more than 32 bits": (
        model(graph(RELU) + block(5, EVIL, tag_bits=1 << 32)),
        "field number 536870917",
    ),
    "functions behind a long tag": (model(graph(RELU), more=block(25, b"", tag_bits=7 << 32)), "field number"),
    # Sizes.
    "negative dimension": (model(graph(RELU, tensors=(tensor(-1),))), "dimension of -1"),
    "2 GiB constant": (model(graph(RELU, tensors=(tensor(1 << 29),))), "2147483648 bytes"),
    "2 GiB of int64": (model(graph(RELU, tensors=(tensor(1 << 28, data_type=7),))), "2147483648 bytes"),
    "type that only 32 bits make": (
        model(graph(RELU, tensors=(tensor(1 << 29, data_type=2**32 + 1),))),
        "bytes in memory",
    ),
    "dimensions that overflow together": (model(graph(RELU, tensors=(tensor(1 << 31, 1 << 31, 4),))), "elements"),
    "a million dimensions": (model(graph(RELU, tensors=(block(1, varint(3) * 1_000_000),))), "dimensions"),
    "sparse, small inside and huge outside": (
        model(graph(RELU, sparse_tensors=(sparse(tensor(1), tensor(1), 1 << 40),))),
        "elements",
    ),
    "two halves of a tensor": (
        model(graph(node("Constant", attribute("value", block(5, tensor(4)), block(5, tensor(4)))))),
        "there twice",
    ),
    "two halves of a subgraph": (model(graph(node("If", attribute("b", block(6, graph(RELU)) * 2)))), "there twice"),
    "two halves of a sparse tensor": (
        model(graph(RELU, sparse_tensors=(block(1, tensor(1)) * 2 + block(2, tensor(1)),))),
        "there twice",
    ),
    # What may run.
    "foreign operator domain": (model(graph(node("Evil", domain="com.evil"))), "'com.evil'"),
    "foreign domain imported": (model(graph(RELU), opsets=(opset(17), opset(1, "com.evil"))), "'com.evil'"),
    "foreign domain in a subgraph": (
        model(graph(node("If", attribute("b", block(6, graph(node("Evil", domain="com.evil"))))))),
        "'com.evil'",
    ),
    "functions of its own": (model(graph(RELU), more=block(25, block(1, "f"))), "functions of its own"),
    "training graphs": (model(graph(RELU), more=block(20, block(1, graph(RELU, tensors=(EVIL,))))), "training"),
    "graphs too deep": (nested(onnx_guard.MAX_DEPTH), "nested deeper"),
    "graphs far too deep": (nested(2000), "nested deeper"),
    "no graph": (model(), "0 graphs"),
    "two graphs": (model(graph(RELU), graph(RELU)), "2 graphs"),
    "no opset": (model(graph(RELU), opsets=()), "opset 0"),
    "two default opsets": (model(graph(RELU), opsets=(opset(17), opset(7, "ai.onnx"))), "twice"),
    # Malformed.
    "nothing": (b"", "0 graphs"),
    "cut short": (model(graph(RELU))[:-1], "left"),
    "endless number": (b"\x80" * 100_000, "64 bits"),
    "number that the end cuts": (b"\x08\x80", "cut short"),
    "field beyond the file": (block(7, b"")[:1] + varint(1 << 40), "are left"),
    "field number 0": (b"\x00\x00", "field number 0"),
    "group": (b"\x0b\x0c", "wire type 3"),
    "fixed number cut short": (b"\x09\x00", "cut short"),
    "name that is not UTF-8": (model(graph(block(4, b"\xff"))), "UTF-8"),
    "name of a megabyte": (model(graph(node("A" * 1_000_000))), "name of 1000000 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_with_its_reason(case):
    data, words = HOSTILE[case]
    with pytest.raises(BadModel) as refused:
        guard(data, BESIDE)
    assert words in str(refused.value)


def test_more_nodes_than_allowed_are_refused():
    assert guard(model(graph(*[RELU] * onnx_guard.MAX_NODES))).nodes == onnx_guard.MAX_NODES
    with pytest.raises(BadModel, match="more than 50000 nodes"):
        guard(model(graph(*[RELU] * (onnx_guard.MAX_NODES + 1))))


def test_a_file_of_nothing_but_tiny_fields_is_given_up():
    with pytest.raises(BadModel, match="more than 2000000 fields"):
        guard(model(graph(tensors=(b"",) * (onnx_guard.MAX_FIELDS + 1))))


def test_graphs_may_be_nested_to_the_limit():
    assert guard(nested(onnx_guard.MAX_DEPTH - 1)).nodes == onnx_guard.MAX_DEPTH


def test_a_dense_model_passes():
    seen = guard((DATA / "dense.onnx").read_bytes())
    assert (seen.ir_version, seen.opset, seen.nodes) == (8, 17, 1)
    assert seen.operators == {"Gemm"}
    assert seen.external_files == frozenset()


def test_a_quantized_model_passes_and_its_raw_tensors_are_found():
    data = (DATA / "quantized.onnx").read_bytes()
    seen = guard(data)
    assert seen.operators == {"QuantizeLinear", "DequantizeLinear", "MatMul"}
    assert [data[start:end] for start, end in seen.tensors] == [bytes(range(12)), bytes(3), bytes(1)]


def test_branches_pass_and_their_nodes_count():
    seen = guard((DATA / "branches.onnx").read_bytes())
    assert seen.operators == {"If", "Constant"}
    assert seen.nodes == 3


def test_external_data_passes_when_the_release_lists_the_file():
    data = (DATA / "outside.onnx").read_bytes()
    assert guard(data, BESIDE).external_files == {"weights.bin"}
    with pytest.raises(BadModel, match=r"weights\.bin"):
        guard(data)
    with pytest.raises(BadModel, match="which has 47 bytes"):
        guard(data, {"weights.bin": 47})


def test_the_vendor_domain_passes_and_its_operators_are_named():
    data = model(graph(node("QLinearAdd", domain="com.microsoft")), opsets=(opset(17), opset(1, "com.microsoft")))
    assert guard(data).operators == {"com.microsoft.QLinearAdd"}


def test_a_mapped_file_can_be_walked_without_a_copy():
    data = (DATA / "dense.onnx").read_bytes()
    assert guard(memoryview(data)) == guard(data)


def test_what_a_graph_computes_is_not_judged():
    # A ConstantOfShape makes its gigabytes at run time: only the limits of the trial and the worker stop it.
    shape = tensor(1, raw=(1 << 29).to_bytes(8, "little"), data_type=7)
    assert guard(model(graph(node("ConstantOfShape"), tensors=(shape,)))).operators == {"ConstantOfShape"}


HONEST = [path.read_bytes() for path in sorted(DATA.glob("*.onnx"))] + [
    nested(3),
    hidden_in_a_subgraph(block(5, tensor(2))),
]


def judged(data: bytes) -> None:
    try:
        guard(data, BESIDE)
    except BadModel as error:
        assert str(error)


@given(st.binary(max_size=4000))
def test_random_bytes_give_a_verdict_and_nothing_else(data):
    judged(data)


@settings(max_examples=300)
@given(st.sampled_from(HONEST), st.data())
def test_a_damaged_file_gives_a_verdict_and_nothing_else(honest, draw):
    data = bytearray(honest)
    for _ in range(draw.draw(st.integers(1, 6))):
        at = draw.draw(st.integers(0, len(data) - 1))
        if draw.draw(st.booleans()):
            data[at] = draw.draw(st.integers(0, 255))
        else:
            data[at:at] = draw.draw(st.binary(max_size=12))
    judged(bytes(data))


MESSAGES = st.recursive(
    st.binary(max_size=12),
    lambda below: st.lists(
        st.one_of(
            st.builds(number, st.integers(1, 30), st.integers(-(2**63), 2**64 - 1)),
            st.builds(block, st.sampled_from((1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 22, 23, 25)), below),
        ),
        max_size=5,
    ).map(b"".join),
    max_leaves=40,
)


@settings(max_examples=300)
@given(MESSAGES)
def test_well_formed_nonsense_gives_a_verdict_and_nothing_else(data):
    judged(data)
    judged(model(data))
    judged(model(graph(data)))
