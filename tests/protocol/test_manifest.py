"""The manifest's own bounds, and what it answers."""

import json

import pytest
from msgspec.structs import replace

from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.errors import BadDocument
from edgefleet_protocol.manifest import DATATYPE_BYTES, LatencyRow, Release
from tests.protocol.sample import digest, release, variant

CHUNK = {"sha256": digest("c"), "bytes": 1, "wire_bytes": 2}


def changed(*path: object, to: object) -> bytes:
    """The JSON of a release with the value at `path` replaced."""
    whole = at = json.loads(encode(release()))
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    (
        (("variants",), []),
        (("files",), []),
        (("golden_inputs",), []),
        (("interface", "inputs"), []),
        (("interface", "outputs"), []),
        (("variants", 0, "files"), []),
        (("variants", 0, "golden", "tolerances"), []),
        (("variants",), [json.loads(encode(release()))["variants"][0]] * 65),
        (("files",), [json.loads(encode(release()))["files"][0]] * 513),
        (("files", 0, "chunks"), [dict(CHUNK, sha256="a" * 64)] * 6000 + [{"sha256": "x"}]),
        (("files", 0, "name"), "../../etc/passwd"),
        (("files", 0, "name"), "/etc/passwd"),
        (("files", 0, "bytes"), -1),
        (("files", 0, "bytes"), 2**53 + 1),
        (("files", 0, "sha256"), "A" * 64),
        (("files", 0, "chunks", 0, "sha256"), digest("x") + "\n"),
        (("golden_inputs", 0, "shape"), [1] * 9),
        (("golden_inputs", 0, "shape"), [-1]),
        (("golden_inputs", 0, "shape"), [2**31 + 1]),
        (("golden_inputs", 0, "datatype"), "BYTES"),
        (("golden_inputs", 0, "file"), "a/../b"),
        (("variants", 0, "name"), "a/b"),
        (("variants", 0, "requires", ), {"load_s": -1}),
        (("variants", 0, "requires", ), {"load_s": 1e300}),
        (("variants", 0, "golden", "tolerances", 0, "min_top1"), 1.5),
        (("model",), "Fashion"),
        (("kind",), "firmware"),
        (("notes",), "x" * 2001),
    ),
)  # fmt: skip
def test_a_value_out_of_its_bounds_is_refused(path, value):
    with pytest.raises(BadDocument):
        decode(changed(*path, to=value), Release)


def test_what_was_measured_goes_before_what_was_predicted():
    rows = (
        LatencyRow(hardware_class="pi4", p50_s=0.1, how="predicted"),
        LatencyRow(hardware_class="pi4", p50_s=0.2, how="measured"),
        LatencyRow(hardware_class="pi5", p50_s=0.3, how="predicted"),
    )
    one = replace(variant("a"), latency=rows)
    assert one.latency_on("pi4") == rows[1]
    assert one.latency_on("pi5") == rows[2]
    assert one.latency_on("tx2") is None


def test_names_are_found_or_missed():
    one = release()
    assert one.name == "fashion/3"
    assert one.variant("fp32") is one.variants[0]
    assert one.variant("int8") is None
    assert one.has_file("fp32.onnx")
    assert not one.has_file("int8.onnx")
    with pytest.raises(KeyError):
        one.file("int8.onnx")
    assert one.variants[0].golden.tolerance("CPUExecutionProvider") is not None
    assert one.variants[0].golden.tolerance("other") is None


def test_every_datatype_has_a_size():
    # The names of the Open Inference Protocol that have a fixed size.
    assert DATATYPE_BYTES == {
        "BOOL": 1, "UINT8": 1, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8, "FP16": 2, "FP32": 4, "FP64": 8,
    }  # fmt: skip
    for name in DATATYPE_BYTES:
        assert decode(changed("golden_inputs", 0, "datatype", to=name), Release).golden_inputs[0].datatype == name
