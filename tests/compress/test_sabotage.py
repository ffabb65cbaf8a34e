"""The demo's two bad packages are well-formed, and bad in just the way that they say."""

from pathlib import Path

import numpy as np
import pytest

from edgefleet_compress.example.sabotage import BRIGHT, SIDE, main
from edgefleet_compress.package.variants import read
from edgefleet_compress.runtime import Array, Rules, answers, open_session
from edgefleet_protocol.onnx_guard import guard


def made(package: Path, how: str, folder: Path) -> Path:
    assert main([str(package), "--how", how, "--out", str(folder / how)]) == 0
    return folder / how


@pytest.fixture(scope="module")
def wrong(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(package, "wrong-golden", tmp_path_factory.mktemp("wrong"))


@pytest.fixture(scope="module")
def slow(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(package, "slow", tmp_path_factory.mktemp("slow"))


def floats(data: bytes, shape: tuple[int, ...]) -> Array:
    return np.frombuffer(data, "<f4").reshape(shape)


def test_wrong_golden_answers_pass_every_check_but_a_device_that_asks(wrong: Path, package: Path) -> None:
    release, contents = read(wrong)  # decodes, check_release, guard and digests
    good, _ = read(package)
    (image,) = release.golden_inputs
    inputs = floats(contents.files[image.file], image.shape)
    for variant in release.variants:
        before = good.variant(variant.name)
        assert before is not None and before.golden.tolerances == variant.golden.tolerances
        (tensor,) = variant.golden.outputs
        want = floats(contents.files[tensor.file], tensor.shape)
        got = answers(open_session(contents.files[variant.files[0]], "default"), inputs, 1)
        off = np.abs(got - want).max(axis=1)
        assert off.min() > 3 * variant.golden.tolerances[0].max_abs  # for every single sample


def test_slow_variants_answer_all_check_inputs_of_the_good_package_alike(slow: Path, package: Path) -> None:
    _, bad = read(slow)
    release, good = read(package)
    for variant in release.variants:
        assert bad.beside[f"check/{variant.name}.f32"] == good.beside[f"check/{variant.name}.f32"]
    assert bad.beside["check/inputs.f32"] == good.beside["check/inputs.f32"]
    inputs = floats(good.beside["check/inputs.f32"], (-1, 1, 28, 28))
    for variant in release.variants:
        file = variant.files[0]
        want = answers(open_session(good.files[file]), inputs, 256)
        assert np.array_equal(answers(open_session(bad.files[file]), inputs, 256), want)


def test_slow_variants_give_their_golden_answers_and_keep_the_versions(slow: Path) -> None:
    release, contents = read(slow)
    (image,) = release.golden_inputs
    inputs = floats(contents.files[image.file], image.shape)
    for variant in release.variants:
        seen = guard(contents.files[variant.files[0]])
        assert (seen.ir_version, seen.opset) == (8, 17) and "Loop" in seen.operators
        (tensor,) = variant.golden.outputs
        want = floats(contents.files[tensor.file], tensor.shape)
        rules: Rules
        for rules in ("default", "arm"):
            got = answers(open_session(contents.files[variant.files[0]], rules), inputs, 1)
            assert np.abs(got - want).max() <= variant.golden.tolerances[0].max_abs


def test_golden_inputs_go_around_no_turn_of_the_loop_and_real_ones_around_many(slow: Path) -> None:
    """The work is counted, not timed: a turn multiplies two matrices of SIDE by SIDE."""
    import onnx
    from onnx import numpy_helper

    release, contents = read(slow)
    (image,) = release.golden_inputs
    assert floats(contents.files[image.file], image.shape).max() <= BRIGHT
    real = floats(contents.beside["check/inputs.f32"], (-1, 28 * 28))
    assert (real.max(1) > BRIGHT).mean() > 0.95
    for variant in release.variants:
        graph = onnx.load_from_string(contents.files[variant.files[0]]).graph
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        macs = int(constants["detour_turns"]) * SIDE**3
        assert macs > 100_000_000


def test_a_package_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--how", "slow", "--out", str(tmp_path / "out")]) == 1
    assert "is no package" in capsys.readouterr().err
