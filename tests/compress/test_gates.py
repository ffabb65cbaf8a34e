"""The gates: which kernels run, whether a variant is as good as its original, and what is said where it is not."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomllib
from onnx import TensorProto

from edgefleet_compress import recipe
from edgefleet_compress.commands import main
from edgefleet_compress.errors import RecipeError
from edgefleet_compress.gates.calibration import few_samples
from edgefleet_compress.gates.coverage import table
from edgefleet_compress.gates.insurance import compare_answers, compare_metric, sign_test, upper_bound
from edgefleet_compress.gates.judge import judge
from edgefleet_compress.gates.limits import Limits
from edgefleet_compress.pipeline import Pipeline
from edgefleet_compress.progress import Silent
from edgefleet_compress.runtime import Array, Rules, open_session
from edgefleet_compress.steps.quantize_static import QuantizeStatic
from edgefleet_compress.work import Work
from edgefleet_compress.workload import Workload, load
from tests.compress.conftest import TINY, Trained
from tests.compress.quantized_files import CHANNELS, Bias, one_convolution, one_product

FILES = Path(__file__).parent / "made_by"
S8, U8 = TensorProto.INT8, TensorProto.UINT8
FLAGGED = {
    "mixed, int8 first": ({"after": U8}, "input is int8 and its result uint8"),
    "mixed, uint8 first": ({"before": U8}, "input is uint8 and its result int8"),
    "a scale per channel": ({"per_channel": True}, "its input has a scale per channel"),
    "a scale per channel, depthwise": ({"per_channel": True, "depthwise": True}, "its input has a scale per channel"),
    "zero point 0 behind Clip": ({"activation": "Clip", "scale": 6 / 127}, "the Clip behind it stays"),
    "zero point 0 behind Relu": ({"activation": "Relu", "scale": 6 / 127}, "the Relu behind it stays"),
    "no quantizer behind": ({"after": None}, "its result goes to Sigmoid"),
    "a bias that is computed": ({"bias": "computed"}, "its bias is not quantized"),
}
COVERED: dict[str, dict[str, Any]] = {
    "plain": {},
    "unsigned": {"before": U8, "after": U8},
    "Relu that the quantizer does": {"activation": "Relu", "zero": -128},
    "Clip that the quantizer does": {"activation": "Clip", "scale": 6 / 255, "zero": -128},
    "depthwise": {"depthwise": True},
    "no bias": {"bias": "none"},
    "a float bias": {"bias": "float"},
    "a float bias behind Relu": {"bias": "float", "activation": "Relu", "zero": -128},
}
BROKEN = one_convolution(per_channel=True, bias="none")


@pytest.mark.parametrize("kind", FLAGGED)
def test_a_convolution_that_stays_float_is_flagged_with_its_reason(kind: str) -> None:
    how, why = FLAGGED[kind]
    found = table(one_convolution(**how), "arm")
    assert (found.int8, found.all) == (0, 1) and found.rows[0].kernel in ("Conv", "FusedConv")
    assert why in found.flags[0] and found.flags[0].startswith("1 of 1 stay in floating point (conv)")


@pytest.mark.parametrize("kind", COVERED)
def test_a_convolution_on_an_int8_kernel_is_not_flagged(kind: str) -> None:
    found = table(one_convolution(**COVERED[kind]), "arm")
    assert (found.int8, found.all, found.flags) == (1, 1, ())
    assert found.rows[0].kernel == "QLinearConv" and found.rows[0].name == "conv"


def test_a_file_that_opens_and_fails_at_every_inference_is_flagged() -> None:
    found = table(BROKEN, "arm")
    assert found.rows[0].format == "broken" and "every inference fails" in found.flags[0]
    with pytest.raises(Exception, match="QLinearConv"):
        open_session(BROKEN, "arm").run(None, {"x": np.ones((1, CHANNELS, 8, 8), np.float32)})
    assert table(BROKEN, "default").rows[0].format == "float"


@pytest.mark.parametrize("rules", ["arm", "default"])
def test_the_word_of_the_rules_is_what_the_runtime_builds(rules: Rules, trained: Trained) -> None:
    int8 = [
        QuantizeStatic(samples=64, symmetric=symmetric).apply(trained.exported, trained.workload, trained.context)
        for symmetric in (False, True)
    ]
    unsigned = QuantizeStatic(samples=64, activations="unsigned").apply(
        trained.exported, trained.workload, trained.context
    )
    hand = [one_convolution(**how) for how in (*(how for how, _ in FLAGGED.values()), *COVERED.values())]
    for data in (BROKEN, *hand, *(made.onnx for made in (trained.exported, *int8, unsigned))):
        assert data is not None
        assert table(data, rules).disagreements == ()


MADE_BY = {
    "nncf": (2, 8, ("its input is uint8 and its result int8", "its input has a scale per channel")),
    "modelopt": (0, 8, ("it was not quantized", "the Clip behind it stays")),
    "aimet": (8, 8, ()),
}
"""int8 kernels under Arm's rules, all, and what the gate must say."""


@pytest.mark.parametrize("tool", MADE_BY)
def test_files_that_other_tools_made_are_seen_through(tool: str) -> None:
    int8, all_, words = MADE_BY[tool]
    found = table((FILES / f"{tool}.onnx").read_bytes(), "arm")
    assert (found.int8, found.all) == (int8, all_)
    assert bool(found.flags) == (int8 < all_) and all(any(word in flag for flag in found.flags) for word in words)


@pytest.mark.parametrize("rules", ["arm", "default"])
@pytest.mark.parametrize("tool", MADE_BY)
def test_the_word_of_the_rules_holds_for_files_that_other_tools_made(tool: str, rules: Rules) -> None:
    assert table((FILES / f"{tool}.onnx").read_bytes(), rules).disagreements == ()


@pytest.mark.parametrize("rules", ["arm", "default"])
@pytest.mark.parametrize("bias", ["int32", "float", "none"])
def test_the_word_of_the_rules_holds_for_every_product_between_quantizers(bias: Bias, rules: Rules) -> None:
    behind: tuple[tuple[str, ...], ...] = (
        ("Q",), (), ("Relu",), ("Relu", "Q"), ("Clip", "Q"), ("Relu", "Sigmoid"), ("Sigmoid",), ("Flatten", "Q"),
    )  # fmt: skip
    for nodes in behind:
        for kind in (S8, U8):
            for operator in ("Gemm", "MatMul") if bias == "none" else ("Gemm",):
                data = one_product(operator, kind, bias, nodes)
                assert table(data, rules).disagreements == (), (operator, kind, nodes)


def test_weights_alone_in_few_bits_are_no_int8_kernel() -> None:
    found = table(one_product("MatMul", S8, "none", (), before=False), "arm")
    assert (found.rows[0].format, found.rows[0].expected, found.int8) == ("weights", "weights", 0)


def test_the_command_prints_the_table_before_and_after(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = QuantizeStatic(samples=64).apply(trained.exported, trained.workload, trained.context)
    assert trained.exported.onnx is not None and made.onnx is not None
    before, after, bad = tmp_path / "before.onnx", tmp_path / "after.onnx", tmp_path / "bad.onnx"
    before.write_bytes(trained.exported.onnx)
    after.write_bytes(made.onnx)
    bad.write_bytes(b"nothing")
    assert main(["coverage", str(after), "--before", str(before)]) == 0
    text = capsys.readouterr().out
    assert "QLinearConv" in text and "before: 0/3" in text and "after:  3/3" in text
    assert main(["coverage", str(after), "--rules", "default", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["all"] == 3 and said["rows"][0]["format"] in ("int8", "float")
    assert main(["coverage", str(bad)]) == 1 and "cannot be opened" in capsys.readouterr().err
    assert main(["coverage", str(tmp_path / "none.onnx")]) == 3


def outputs(right: Array, targets: Array) -> Array:
    """Answers (samples, 3) that are right where `right` says so."""
    return np.eye(3, dtype=np.float32)[np.where(right, targets, (targets + 1) % 3)]


def test_a_loss_in_one_class_is_refused_in_words_though_the_whole_is_within_its_limit() -> None:
    targets = np.arange(3000) % 3
    right = np.ones(3000, bool)
    worse = right.copy()
    worse[np.flatnonzero(targets == 2)[:31]] = False
    limits = Limits(lose_class_points=2)
    verdict = compare_answers(
        outputs(right, targets), outputs(worse, targets), targets, ("Shoe", "Bag", "Shirt"), limits
    )
    assert verdict.refusals == ("loses 3.1 points of class Shirt; 2 are allowed",)
    assert (verdict.worse, verdict.better, verdict.worst_class) == (31, 0, "Shirt")
    assert verdict.lost_points == pytest.approx(1.0333, abs=1e-3) and verdict.bound_points < 2


def test_what_is_seen_by_chance_is_not_enough_to_pass_and_not_enough_to_condemn_a_class() -> None:
    targets = np.arange(60) % 3
    right = np.ones(60, bool)
    one = right.copy()
    one[0] = False
    verdict = compare_answers(
        outputs(right, targets), outputs(one, targets), targets, ("a", "b", "c"), Limits(lose_points=3)
    )
    assert len(verdict.refusals) == 1 and "is not shown at 95%" in verdict.refusals[0]
    assert verdict.worst_class == "a" and verdict.worst_class_points == 5
    assert not compare_answers(
        outputs(right, targets), outputs(right, targets), targets, (), Limits(lose_points=3)
    ).refusals


def test_answers_that_change_are_refused_though_as_many_are_right() -> None:
    targets = np.arange(2000) % 3
    first, second = np.ones(2000, bool), np.ones(2000, bool)
    first[:300], second[300:600] = False, False
    verdict = compare_answers(outputs(first, targets), outputs(second, targets), targets, (), Limits())
    assert verdict.lost_points == 0 and verdict.flips_percent == 30
    assert verdict.refusals[-1] == "changes 30.0 % of the answers; 10 % are allowed"


def test_the_bound_holds_as_often_as_it_says() -> None:
    draw = np.random.default_rng(1)
    held = [upper_bound(*draw.multinomial(800, [0.03, 0.02, 0.95])[:2], 800, 0.95) >= 0.01 for _ in range(2000)]
    assert 0.93 <= np.mean(held) <= 0.98
    assert sign_test(5, 0) == 1 / 32 and sign_test(0, 5) == 1 and sign_test(700, 500) < 1e-7


def test_any_other_metric_is_compared_by_pairs_too(tiny: Workload) -> None:
    draw = np.random.default_rng(0)
    truth, noise = draw.normal(size=400), draw.normal(size=400) * 0.1

    def score(rows: Array) -> tuple[float, float]:
        return 1 - float(np.abs(noise[rows]).mean()), 1 - float(np.abs(noise[rows] + 0.5 * (truth[rows] > 0)).mean())

    verdict = compare_metric(score, 400, Limits(), resamples=100)
    assert (
        verdict.refusals and "2 are allowed" in verdict.refusals[0] and verdict.bound_points > verdict.lost_points > 10
    )
    assert not compare_metric(lambda rows: (0.5, 0.5), 400, Limits(), resamples=20).refusals


def test_a_refused_variant_is_left_out_and_the_words_say_why(tmp_path: Path) -> None:
    text = """
        [original]
        steps = [{ step = "finetune", epochs = 1, learning_rate = 0.1 }]
        [gates]
        lose_points = 3
        [[variant]]
        name = "cut"
        steps = [{ step = "prune", ratio = 0.9, tolerance_points = 100, recover = { step = "finetune", epochs = 1 } }]
    """
    recipes = recipe.parse(tomllib.loads(text))
    outcome = Pipeline(load(TINY), Work(tmp_path), Silent()).run(recipes)
    assert [made.name for made in outcome.made] == ["fp32"]
    assert outcome.left_out[0].name == "cut" and "refused by the insurance gate: loses " in outcome.left_out[0].why
    again = Pipeline(load(TINY), Work(tmp_path), Silent()).run(recipes)
    assert again.left_out == outcome.left_out


def test_the_package_says_what_the_gates_found(package: Path) -> None:
    said = json.loads((package / "gates.json").read_text())
    assert said["fp32"]["insurance"] is None and said["int8"]["insurance"]["samples"] == 300
    assert said["int8"]["coverage"]["int8"] == said["int8"]["coverage"]["all"] == 3
    page = (package / "report.html").read_text()
    assert "Node by node" in page and "McNemar" in page and "QLinearConv" in page


def test_few_calibration_samples_are_warned_of(tiny: Workload) -> None:
    text = '[[variant]]\nname = "a"\nsteps = [{step = "quantize_static", samples = 64}]\n[[variant]]\nname = "b"\nsteps = [{step = "quantize_static"}]'
    (warning,) = few_samples(tiny, recipe.parse(tomllib.loads(text)))
    assert "'a'" in warning and "64 calibration samples" in warning


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lose = 1", "no setting 'lose'; there are lose_points"),
        ("confidence = 2", "at least 0.5 and below 1"),
        ('lose_points = "few"', "is a number"),
        ("refuse = 1", "true or false"),
        ("flips_percent = 200", "0 to 100"),
    ],
)
def test_a_gate_that_cannot_be_is_named(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        recipe.parse(tomllib.loads(f"[gates]\n{text}"))


def test_the_same_answers_pass(trained: Trained) -> None:
    answers = np.eye(10, dtype=np.float32)[trained.workload.test.targets.numpy()]
    assert judge(answers, answers, trained.workload, Limits()).refusals == ()


def test_the_guide_names_every_limit_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "guides" / "workload.md").read_text()
    text = page.split("### `[gates]`")[1].split("\n### ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S+) \|", text, re.MULTILINE))
    assert rows == {name: str(value).lower() for name, value in dataclasses.asdict(Limits()).items()}
