"""The ONNX-only road: what a team's own file becomes, what is said of it, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgefleet_compress.commands import main
from edgefleet_compress.errors import RoadRefused
from edgefleet_compress.package.variants import read
from edgefleet_compress.road.agreement import agreements
from edgefleet_compress.road.feeding import feed
from edgefleet_compress.road.opening import open_file, opset_of
from edgefleet_compress.runtime import Array, open_session
from edgefleet_compress.steps.head import tail
from tests.compress.quantized_files import file_of, one_convolution

DRAW = np.random.default_rng(0)


def constant(name: str, *shape: int, scale: float = 0.1) -> onnx.TensorProto:
    return numpy_helper.from_array(
        (np.random.default_rng(len(name)).normal(size=shape) * scale).astype(np.float32), name
    )


def convolutional(opset: int = 17, norm: bool = False) -> bytes:
    """A classifier of two convolutions, whose answers are probabilities."""
    nodes = [helper.make_node("Conv", ["x", "w1"], ["a"], name="first", pads=[1, 1, 1, 1], strides=[2, 2])]
    constants = [constant("w1", 16, 3, 3, 3), constant("second", 32, 16, 3, 3), constant("head", 32, 4, scale=3)]
    last = "a"
    if norm:
        nodes.append(helper.make_node("BatchNormalization", ["a", "one", "zero", "mean", "var"], ["n"], name="norm"))
        ones = np.ones(16, np.float32)
        for name, values in (("one", ones), ("zero", 0 * ones), ("mean", 0 * ones), ("var", 0.02 * ones)):
            constants.append(numpy_helper.from_array(values, name))
        last = "n"
    nodes += [
        helper.make_node("Relu", [last], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "second"], ["c"], name="second_conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"], name="pool"),
        helper.make_node("Flatten", ["d"], ["e"], name="flat"),
        helper.make_node("MatMul", ["e", "head"], ["f"], name="fc"),
        helper.make_node("Softmax", ["f"], ["y"], name="softmax", axis=1),
    ]
    return file_of(nodes, constants, [("x", ["n", 3, 12, 12])], [("y", ["n", 4])], opset=opset)


def detector() -> bytes:
    """Boxes of 0 to 320 and scores of 0 to 1 in one tensor, as detectors end."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="body"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w_boxes"], ["boxes"], name="boxes"),
        helper.make_node("Conv", ["b", "w_scores_x"], ["logits"], name="scores"),
        helper.make_node("Sigmoid", ["boxes"], ["unit"], name="unit"),
        helper.make_node("Mul", ["unit", "size"], ["pixels"], name="pixels"),
        helper.make_node("Sigmoid", ["logits"], ["chances"], name="chances"),
        helper.make_node("Concat", ["pixels", "chances"], ["y"], name="join", axis=1),
    ]
    constants = [
        constant("w1", 32, 3, 3, 3, scale=0.5), constant("w_boxes", 4, 32, 1, 1, scale=0.5),
        constant("w_scores_x", 6, 32, 1, 1, scale=0.5), numpy_helper.from_array(np.float32(320), "size"),
        constant("unused", 2),
    ]  # fmt: skip
    return file_of(nodes, constants, [("x", ["n", 3, 10, 10])], [("y", ["n", 10, 8, 8])])


def recurrent() -> bytes:
    """Sound features and a state of (1, 1, 32) in, an answer and the next state out; no first dimension that counts."""
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "", "", "h", "c"], ["seq", "hn", "cn"], name="lstm", hidden_size=32),
        helper.make_node("Squeeze", ["seq", "axis"], ["s"], name="squeeze"),
        helper.make_node("MatMul", ["s", "head"], ["y"], name="fc"),
    ]
    constants = [
        constant("w", 1, 128, 24),
        constant("r", 1, 128, 32),
        constant("head", 32, 5),
        numpy_helper.from_array(np.array([1]), "axis"),
    ]
    inputs = [("x", [7, 1, 24]), ("h", [1, 1, 32]), ("c", [1, 1, 32])]
    return file_of(nodes, constants, inputs, [("y", [7, 1, 5]), ("hn", [1, 1, 32]), ("cn", [1, 1, 32])])


def two_inputs() -> bytes:
    """A picture and two whole numbers that pick rows of a table, as recommenders and sensors with a place have."""
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"], name="conv", strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "second"], ["c"], name="conv_2"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gather", ["table", "place:0"], ["e"], name="embed"),
        helper.make_node("Flatten", ["e"], ["g"], name="flat_2"),
        helper.make_node("Concat", ["f", "g"], ["j"], name="join", axis=1),
        helper.make_node("MatMul", ["j", "head"], ["y"], name="fc"),
    ]
    constants = [
        constant("first", 16, 3, 3, 3), constant("second", 32, 16, 3, 3), constant("table", 20, 8, scale=1),
        constant("head", 48, 4, scale=1),
    ]  # fmt: skip
    values = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 12, 12]),
        helper.make_tensor_value_info("place:0", TensorProto.INT32, ["n", 2]),
    ]
    graph = helper.make_graph(
        nodes, "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])], constants
    )
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return data


def branched() -> bytes:
    """The network inside an If on a whole number, as some exporters leave two sample rates."""

    def branch(name: str) -> onnx.GraphProto:
        node = helper.make_node("MatMul", ["x", "w"], [name], name=f"{name}_product")
        return helper.make_graph([node], name, [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64])])

    nodes = [
        helper.make_node("Equal", ["rate", "sixteen"], ["is"], name="is"),
        helper.make_node("If", ["is"], ["y"], name="if", then_branch=branch("fast"), else_branch=branch("slow")),
    ]
    values = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64]),
        helper.make_tensor_value_info("rate", TensorProto.INT64, []),
    ]
    graph = helper.make_graph(
        nodes, "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [constant("w", 64, 64), numpy_helper.from_array(np.array(16), "sixteen")],
    )  # fmt: skip
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8
    ).SerializeToString()
    return data


def place(tmp_path: Path, data: bytes, **inputs: Array) -> tuple[Path, Path]:
    file, feeds = tmp_path / "My Net.onnx", tmp_path / "inputs.npz"
    file.write_bytes(data)
    np.savez(feeds, **inputs)  # type: ignore[arg-type]
    return file, feeds


def run(capsys: pytest.CaptureFixture[str], file: Path, *more: str) -> dict[str, Any]:
    code = main(["onnx", str(file), "--out", str(file.parent / "package"), "--json", *more])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    said: dict[str, Any] = json.loads(captured.out)
    return said


def test_a_classifier_of_an_old_opset_becomes_a_package(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = onnx.load_from_string(convolutional(opset=12))
    for tensor in old.graph.initializer:  # as old exporters list them
        old.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.FLOAT, tensor.dims))
    old.opset_import.append(helper.make_opsetid("com.example.unused", 1))
    file, feeds = place(tmp_path, old.SerializeToString(), x=DRAW.normal(size=(64, 3, 12, 12)).astype(np.float32))
    said = run(capsys, file, "--inputs", str(feeds))
    assert said["model"] == "my-net" and said["coverage"]["int8"] == said["coverage"]["all"] == 3
    assert said["agreement"]["y"]["how"] == "top-1" and said["agreement"]["y"]["value"] >= 0.9 and said["samples"] == 16
    assert said["bytes"]["int8"] < 0.5 * said["bytes"]["fp32"]
    assert any("opset 12 raised to 13" in note for note in said["notes"])
    assert any("32 samples; below 100" in warning for warning in said["warnings"])
    release, contents = read(tmp_path / "package")
    assert release.original_accuracy is not None and release.original_accuracy.metric == "agreement with the original"
    assert "not accuracy" in release.notes and release.interface.inputs[0].shape == (-1, 3, 12, 12)
    assert "gates.json" in contents.beside and b"Node by node" in contents.beside["report.html"]


def test_opset_7_is_raised_and_answers_the_same(tmp_path: Path) -> None:
    data = convolutional(opset=7)
    file, _ = place(tmp_path, data)
    opened = open_file(file)
    assert opset_of(opened.model) == 13 and any("opset 7 raised to 13" in note for note in opened.notes)
    feeds = {"x": DRAW.normal(size=(4, 3, 12, 12)).astype(np.float32)}
    want, got = (open_session(each, "plain").run(None, feeds)[0] for each in (data, opened.data))
    assert np.allclose(want, got, atol=1e-6)


def test_the_head_of_a_detector_stays_float_and_its_scores_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tail(detector()) >= {"pixels", "chances", "join", "unit"}
    file, feeds = place(tmp_path, detector(), x=DRAW.normal(size=(32, 3, 10, 10)).astype(np.float32))
    said = run(capsys, file, "--inputs", str(feeds))
    assert "head float" in said["way"] and said["agreement"]["y"]["value"] > 0.85
    assert said["tried"][0].startswith("int8: error")


def test_one_scale_for_boxes_and_scores_is_seen_slice_by_slice() -> None:
    want = np.concatenate([DRAW.uniform(0, 320, (8, 4, 50)), DRAW.uniform(0, 1, (8, 6, 50))], 1).astype(np.float32)
    dead = want.copy()
    dead[:, 4:] = 0
    (found,) = agreements({"y": want}, {"y": dead})
    cosine = float((want * dead).sum() / np.linalg.norm(want) / np.linalg.norm(dead))
    assert cosine > 0.999 and found.value < 0.5 and found.worst_slice == 1


def test_a_recurrent_model_with_states_gets_room_for_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = {
        "x": DRAW.normal(size=(24, 7, 1, 24)),
        "h": DRAW.normal(size=(24, 1, 1, 32)),
        "c": DRAW.normal(size=(24, 1, 1, 32)),
    }
    file, feeds = place(tmp_path, recurrent(), **{name: rows.astype(np.float32) for name, rows in inputs.items()})
    said = run(capsys, file, "--inputs", str(feeds))
    assert said["way"] == "int8 weights (dynamic)" and set(said["agreement"]) == {"y", "hn", "cn"}
    release, _ = read(tmp_path / "package")
    assert [spec.name for spec in release.interface.inputs] == ["x", "h", "c"] and len(release.golden_inputs) == 3
    assert all(spec.shape[0] == 1 for spec in release.interface.inputs)
    assert [tensor.shape[0] for tensor in release.variants[1].golden.outputs] == [6, 6, 6]


def two_samples(count: int) -> dict[str, Array]:
    return {
        "image": DRAW.normal(size=(count, 3, 12, 12)).astype(np.float32),
        "place:0": DRAW.integers(0, 20, (count, 2)),  # int64, as numpy makes whole numbers
    }


def test_a_picture_and_whole_numbers_become_a_package_of_two_inputs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, feeds = place(tmp_path, two_inputs(), **two_samples(30))
    said = run(capsys, file, "--inputs", str(feeds))
    assert said["coverage"]["int8"] == said["coverage"]["all"] == 3
    release, _ = read(tmp_path / "package")
    assert [(spec.name, spec.datatype) for spec in release.interface.inputs] == [
        ("image", "FP32"),
        ("place:0", "INT32"),
    ]
    assert [tensor.shape[1:] for tensor in release.golden_inputs] == [(3, 12, 12), (2,)]


def test_samples_lie_in_one_file_each_or_in_a_folder_for_each_input(tmp_path: Path) -> None:
    samples = two_samples(3)
    file, whole = place(tmp_path, two_inputs(), **samples)
    together, apart = tmp_path / "together", tmp_path / "apart"
    for name in ("image", "place_0"):
        (apart / name).mkdir(parents=True)
    together.mkdir()
    for number in range(3):
        row = {name: rows[number : number + 1] for name, rows in samples.items()}
        np.savez(together / f"{number}.npz", **row)  # type: ignore[arg-type]
        for name, values in row.items():
            np.save(apart / name.replace(":", "_") / f"{number}.npy", values)
    want = feed(open_file(file), whole).feeds
    for folder in (together, apart):
        got = feed(open_file(file), folder).feeds
        assert all(np.array_equal(got[name], want[name]) and got[name].dtype == want[name].dtype for name in want)
    (apart / "place_0" / "1.npy").unlink()
    with pytest.raises(RoadRefused, match=r"place_0 has no 1\.npy, which another input has"):
        feed(open_file(file), apart)
    (apart / "place_0").rename(apart / "place")
    with pytest.raises(RoadRefused, match=r"has no folder place_0"):
        feed(open_file(file), apart)


def test_a_branch_on_an_input_that_never_changes_is_entered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, feeds = place(tmp_path, branched(), x=DRAW.normal(size=(30, 64)).astype(np.float32))
    opened = open_file(file, {"rate": 16})
    assert [node.op_type for node in opened.model.graph.node] == ["MatMul"]
    said = run(capsys, file, "--inputs", str(feeds), "--fix", "rate=16")
    assert said["coverage"]["int8"] == 1 and any("branch that is always taken" in note for note in said["notes"])
    assert any("control flow stays (If, 2 nodes inside)" in note for note in open_file(file).notes)


def test_without_inputs_noise_is_fitted_to_the_batch_norms_and_said_to_be_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(convolutional(norm=True))
    fed = feed(open_file(file), None)
    # Weights of 0.1 over 27 inputs: noise of spread s makes a variance of 0.27 s², and the BatchNorm keeps 0.02.
    assert "a spread of 0.25" in fed.synthetic and "around 0" in fed.synthetic
    assert any("made up" in warning for warning in run(capsys, file)["warnings"])


def test_weights_beside_the_file_are_taken_in(tmp_path: Path) -> None:
    model = onnx.load_from_string(convolutional())
    onnx.save(model, str(tmp_path / "net.onnx"), save_as_external_data=True, location="net.bin", size_threshold=0)
    opened = open_file(tmp_path / "net.onnx")
    assert "beside it" in opened.notes[0] and len(opened.data) > 20_000
    (tmp_path / "net.bin").unlink()
    with pytest.raises(RoadRefused, match=r"beside it that is not there: net\.bin"):
        open_file(tmp_path / "net.onnx")


def unknown_operator() -> bytes:
    node = helper.make_node("Whirl", ["x"], ["y"], domain="org.example")
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2])] for name in "xy"]
    graph = helper.make_graph([node], "g", *values)
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    data: bytes = helper.make_model(graph, opset_imports=sets, ir_version=8).SerializeToString()
    return data


def with_opset(number: int) -> bytes:
    model = onnx.load_from_string(convolutional())
    model.opset_import[0].version = number
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (one_convolution(), "quantized already: it has DequantizeLinear, QuantizeLinear"),
        (unknown_operator(), "knows these operators: org.example::Whirl"),
        (with_opset(24), "opset 24; 23 is the highest"),
        (b"PK\x03\x04 a checkpoint", "is a pickle or an archive"),
        (b"\x80\x02 a pickle", "is a pickle or an archive"),
        (b"hello", "not an ONNX file"),
    ],
    ids=["quantized", "unknown operator", "opset 24", "checkpoint", "pickle", "text"],
)
def test_what_cannot_be_taken_is_refused_with_the_reason(
    data: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(data)
    assert main(["onnx", str(file)]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "net-package").exists()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"z": np.zeros((4, 3), np.float32), "x2": np.zeros(1)}, "has the arrays z, x2; missing are x"),
        ({"x": np.zeros((4, 3), np.float32)}, "has 4 dimensions"),
        ({"x": np.full((4, 3, 12, 12), np.nan, np.float32)}, "NaN or infinity"),
        ({"x": np.zeros((4, 3, 12, 12), complex)}, "is float32 and the samples are complex128"),
        ({"x": np.zeros((4, 5, 12, 12), np.float32)}, "cannot answer the first sample"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: dict[str, Array], words: str, tmp_path: Path) -> None:
    file, feeds = place(tmp_path, convolutional(), **inputs)
    with pytest.raises(RoadRefused, match=words):
        feed(open_file(file), feeds)


def test_a_folder_of_samples_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    file, _ = place(tmp_path, convolutional(), x=np.zeros(1))
    folder = tmp_path / "samples"
    folder.mkdir()
    for number in range(3):
        np.save(folder / f"{number}.npy", np.full((1, 3, 12, 12), number, np.float32))
    assert feed(open_file(file), folder).feeds["x"][:, 0, 0, 0].tolist() == [0, 1, 2]


def test_sizes_that_an_exporter_wrote_down_give_way_to_those_of_the_samples(tmp_path: Path) -> None:
    model = onnx.load_from_string(detector())
    for value, shape in ((model.graph.input[0], (10, 3, 32, 32)), (model.graph.output[0], (10, 10, 30, 30))):
        for dimension, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            dimension.dim_value = size
    file, feeds = place(tmp_path, model.SerializeToString(), x=np.zeros((2, 3, 12, 14), np.float32))
    fed = feed(open_file(file), feeds)
    assert "said 10x3x32x32" in fed.opened.notes[0]
    assert open_session(fed.opened.data).run(None, fed.rows(slice(0, 1)))[0].shape == (1, 10, 10, 12)


def test_a_file_that_would_not_change_is_never_called_compressed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"], name="add"), helper.make_node("Sin", ["a"], ["y"], name="sin")]
    data = file_of(nodes, [constant("b", 1, 8)], [("x", ["n", 8])], [("y", ["n", 8])])
    file, feeds = place(tmp_path, data, x=DRAW.normal(size=(30, 8)).astype(np.float32))
    assert main(["onnx", str(file), "--inputs", str(feeds)]) == 1
    assert "nothing was compressed" in capsys.readouterr().err


def test_the_versions_of_a_file_that_is_good_are_left(tmp_path: Path) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(convolutional())
    opened = open_file(file)
    assert opset_of(opened.model) == 17 and opened.notes == ()
    assert open_session(opened.data).get_inputs()[0].name == "x"
