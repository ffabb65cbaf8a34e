"""Make a bad package out of a good one, for the demo and for tests of what must be refused.

    python -m edgefleet_compress.example.sabotage PACKAGE --how wrong-golden|slow --out DIR

`wrong-golden`: every variant's golden answers are other ones than it gives. Signatures and sizes are right, so it passes
every check but the trial on the device.
`slow`: every variant answers rightly, and quickly for the golden inputs, which are darkened pictures; a picture with a
bright pixel, as cameras really send them, goes around a loop that changes nothing and takes its time. The trial finds
nothing, and the latency budget is broken only under real requests.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgefleet_protocol.codec import encode, sha256_hex
from edgefleet_protocol.manifest import Golden, Release, TensorFile, Tolerance, Variant

from ..errors import CompressError, PackageError
from ..package.golden import golden_answers
from ..package.variants import Contents, read, verify, write
from ..runtime import Array, answers, open_session

BRIGHT = 0.6
"""A picture whose brightest pixel is above this takes the slow way."""
DARKENED = 0.5
"""Golden pictures are multiplied by this, so none of theirs is."""
SIDE = 256
"""Rows and columns of the matrix that the loop multiplies with itself."""
EXTRA_MS = 80.0
PROBE_TURNS = 50
SHOWN_EQUAL = 8
"""Check samples over which a slowed variant is seen to answer as before: each costs EXTRA_MS."""


def wrong_golden(release: Release, contents: Contents) -> Release:
    """Return the release with golden answers that no variant gives; `contents` is changed with it."""
    variants = []
    for variant in release.variants:
        (tensor,) = variant.golden.outputs
        right = np.frombuffer(contents.files[tensor.file], np.float32).reshape(tensor.shape)
        far = 10 * max(row.max_abs for row in variant.golden.tolerances) + float(np.abs(right).max())
        # The classes in reverse order, all of them moved: every sample is far beyond the tolerance, by its mean alone.
        contents.files[tensor.file] = (right[:, ::-1] + np.float32(far)).astype("<f4").tobytes()
        variants.append(variant)
    return _again(release, contents, tuple(variants), release.golden_inputs, "golden answers altered")


def slow(release: Release, contents: Contents, extra_ms: float = EXTRA_MS) -> Release:
    """Return the release with variants that take `extra_ms` more for a bright picture; `contents` is changed with it."""
    (golden,) = release.golden_inputs
    if golden.datatype != "FP32":
        raise PackageError(f"the golden inputs are {golden.datatype}; only FP32 pictures from 0 to 1 can be darkened")
    dark = np.frombuffer(contents.files[golden.file], np.float32).reshape(golden.shape) * np.float32(DARKENED)
    if float(dark.max()) > BRIGHT:
        raise PackageError(
            f"darkened golden inputs still reach {float(dark.max()):.2f}; the model's range must end at 1"
        )
    contents.files[golden.file] = dark.astype("<f4").tobytes()
    check = release_check_inputs(contents, golden.shape[1:])
    turns = _turns(extra_ms)
    variants = []
    for variant in release.variants:
        (file,) = variant.files
        before = contents.files[file]
        after = contents.files[file] = with_detour(before, turns)
        _same_answers(variant.name, before, after, check)
        variants.append(_answered(variant, contents, after, dark))
    return _again(release, contents, tuple(variants), (golden,), f"{extra_ms:.0f} ms slower for real inputs")


HOW: dict[str, Callable[[Release, Contents], Release]] = {"wrong-golden": wrong_golden, "slow": slow}


def with_detour(data: bytes, turns: int) -> bytes:
    """Return the ONNX file `data` with a loop of `turns` matrix products for bright inputs, added times zero."""
    model = onnx.load_from_string(data)
    graph = model.graph
    output, source = graph.output[0].name, graph.input[0].name
    inner = f"{output}_before"
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                names[place] = inner if name == output else name
    constants = {
        "detour_bright": np.array(BRIGHT, np.float32),
        "detour_turns": np.array(turns, np.int64),
        "detour_side": np.array([SIDE, SIDE], np.int64),
        "detour_zero": np.array(0, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    # All entries are 1/SIDE, which the product with itself leaves as they are: no overflow after any number of turns.
    level = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0 / SIDE])
    graph.node.extend(
        [
            helper.make_node("ReduceMax", [source], ["detour_max"], keepdims=0),
            helper.make_node("Greater", ["detour_max", "detour_bright"], ["detour_is"]),
            helper.make_node("Cast", ["detour_is"], ["detour_01"], to=TensorProto.INT64),
            helper.make_node("Mul", ["detour_01", "detour_turns"], ["detour_count"]),
            helper.make_node("ConstantOfShape", ["detour_side"], ["detour_start"], value=level),
            helper.make_node("Loop", ["detour_count", "", "detour_start"], ["detour_end"], body=_body()),
            helper.make_node("ReduceMean", ["detour_end"], ["detour_mean"], keepdims=0),
            helper.make_node("Mul", ["detour_mean", "detour_zero"], ["detour_nothing"]),
            helper.make_node("Add", [inner, "detour_nothing"], [output]),
        ]
    )
    onnx.checker.check_model(model)
    result: bytes = model.SerializeToString()
    return result


def _body() -> onnx.GraphProto:
    matrix = [SIDE, SIDE]
    return helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("MatMul", ["this", "this"], ["next"]),
        ],
        "detour",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("this", TensorProto.FLOAT, matrix),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, matrix),
        ],
    )


def _turns(extra_ms: float) -> int:
    """Return how many turns take `extra_ms` on this machine."""
    spec = [1, 1]
    nothing = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, spec)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, spec)],
    )  # fmt: skip
    model = helper.make_model(nothing, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = open_session(with_detour(model.SerializeToString(), PROBE_TURNS), "default")
    bright = {"x": np.ones((1, 1), np.float32)}
    session.run(None, bright)
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        session.run(None, bright)
        taken.append(time.perf_counter() - start)
    return max(1, round(extra_ms / 1000 / (min(taken) / PROBE_TURNS)))


def release_check_inputs(contents: Contents, shape: tuple[int, ...]) -> Array:
    """Return the package's check inputs, as samples of `shape`."""
    return np.frombuffer(contents.beside["check/inputs.f32"], np.float32).reshape(-1, *shape)


def _same_answers(name: str, before: bytes, after: bytes, check: Array) -> None:
    few = check[:SHOWN_EQUAL]
    if not np.array_equal(answers(open_session(before), few), answers(open_session(after), few)):
        raise PackageError(f"{name} answers otherwise with the detour")


def _answered(variant: Variant, contents: Contents, data: bytes, golden: Array) -> Variant:
    """Return the variant with true answers to the new golden inputs, and no narrower a tolerance than before."""
    (tensor,) = variant.golden.outputs
    answered = golden_answers(data, golden, golden)
    contents.files[tensor.file] = answered.golden.astype("<f4").tobytes()
    (old,) = variant.golden.tolerances
    new = Tolerance(
        provider=old.provider,
        max_abs=max(old.max_abs, answered.tolerance.max_abs),
        min_top1=min(old.min_top1, answered.tolerance.min_top1),
    )
    return msgspec.structs.replace(variant, bytes=len(data), golden=Golden(outputs=(tensor,), tolerances=(new,)))


def _again(
    release: Release, contents: Contents, variants: tuple[Variant, ...], golden: tuple[TensorFile, ...], what: str
) -> Release:
    """Return the release over the changed contents, with sizes and digests that are right."""
    entries = tuple(
        msgspec.structs.replace(
            entry, bytes=len(contents.files[entry.name]), sha256=sha256_hex(contents.files[entry.name])
        )
        for entry in release.files
    )
    return msgspec.structs.replace(
        release, variants=variants, golden_inputs=golden, files=entries, notes=f"bad on purpose: {what}"
    )


def main(argv: list[str]) -> int:
    """Write the bad package; return 0, or 1 when it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m edgefleet_compress.example.sabotage", description="Make a bad package out of a good one."
    )
    parser.add_argument("package", type=Path, metavar="PACKAGE")
    parser.add_argument("--how", choices=sorted(HOW), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    arguments = parser.parse_args(argv)
    try:
        release, contents = read(arguments.package)
        document = encode(HOW[arguments.how](release, contents))
        verify(document, contents.files)
        write(arguments.out, document, contents)
    except (CompressError, OSError) as error:
        print(f"sabotage: {error}", file=sys.stderr)
        return 1
    print(arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
