"""What a person should know before believing the figures is said, and said where it is read."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tomllib
from torch import Tensor

from edgefleet_compress import doubts, recipe
from edgefleet_compress.candidate import Candidate
from edgefleet_compress.commands import main
from edgefleet_compress.errors import BadMetric
from edgefleet_compress.measure import Measures
from edgefleet_compress.pipeline import Made, Outcome
from edgefleet_compress.progress import Silent
from edgefleet_compress.steps import Context
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.training import evaluate
from edgefleet_compress.workload import Workload, check
from tests.compress.conftest import TINY


def test_a_feature_that_no_class_has_is_warned_of_with_those_that_there_are() -> None:
    text = '[[variant]]\nname = "v"\nfeatures = ["asimddp", "avx99"]\nsteps = []\n'
    (warning,) = doubts.of_recipes(recipe.parse(tomllib.loads(text)))
    assert "'avx99'" in warning and "asimddp, asimdhp, avx2" in warning


def outcome(tiny: Workload, accuracies: dict[str, float], gain: float = 0.0) -> Outcome:
    measures = Measures(0.9, 300, 1000, 900, 0.001, 50_000_000, 0, 1_000_000, 10, 3, 3)
    return Outcome(
        tuple(
            Made(
                name,
                Candidate(onnx=b"", facts={"last_epoch_gain": gain}),
                dataclasses.replace(measures, accuracy=value),
            )
            for name, value in accuracies.items()
        ),
        (),
    )


@pytest.mark.parametrize(
    ("accuracies", "gain", "words"),
    [
        ({"fp32": 0.9, "int8": 0.929}, 0.009, []),
        ({"fp32": 0.149, "int8": 0.14}, 0, ["little better than chance: accuracy 0.1490 over 10 labels"]),
        ({"fp32": 0.15}, 0, []),
        ({"fp32": 0.8}, 0.02, ["losses shown flatter: its validation accuracy rose by 2.00 points in its last epoch"]),
        ({"fp32": 0.8, "int8": 0.5, "p30": 0.84}, 0, ["losses shown flatter: p30 is 4.00 points better"]),
        ({"fp32": 0.1, "p30": 0.2}, 0.05, ["chance", "in its last epoch and p30 is 10.00 points better"]),
    ],
)
def test_figures_that_mean_little_are_told_from_good_ones(
    accuracies: dict[str, float], gain: float, words: list[str], tiny: Workload
) -> None:
    found = doubts.of_outcome(tiny, outcome(tiny, accuracies, gain))
    assert len(found) == len(words) and all(part in text for part, text in zip(words, found, strict=True))


def test_a_useless_original_is_said_in_the_output_the_report_and_the_notes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TINY.read_text().replace(
        'some("train", 400)', 'Split(data.images["train"][:400], (data.labels["train"][:400] + 1) % 10)'
    )
    (tmp_path / "w.py").write_text(text)
    (tmp_path / "r.toml").write_text('[original]\nsteps = [{ step = "finetune", epochs = 1, learning_rate = 0.1 }]\n')
    argv = ["run", str(tmp_path / "w.py"), "--recipes", str(tmp_path / "r.toml"), "--out", str(tmp_path / "out")]
    assert main([*argv, "--json"]) == 0
    captured = capsys.readouterr()
    words = "the original is little better than chance"
    assert any(words in text for text in json.loads(captured.out)["warnings"])
    assert f"WARNING: {words}" in captured.err
    assert f"<b>Warning:</b> {words}" in (tmp_path / "out" / "report.html").read_text()
    assert f"WARNING: {words}" in json.loads((tmp_path / "out" / "release.json").read_text())["notes"]


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (lambda outputs, targets: 37.5, "metric returned 37.5; it must return one number from 0 to 1"),
        (lambda outputs, targets: -0.5, "metric returned -0.5"),
        (lambda outputs, targets: float("nan"), "metric returned nan"),
        (lambda outputs, targets: "good", "metric returned 'good'"),
        (lambda outputs, targets: outputs, "it must return one number"),
    ],
)
def test_a_metric_that_is_no_share_is_refused_before_training(
    metric: Callable[[Tensor, Tensor], float], words: str, tiny: Workload
) -> None:
    with pytest.raises(BadMetric, match=words):
        check(dataclasses.replace(tiny, metric=metric))


def test_what_the_original_gained_in_its_last_epoch_is_a_fact(tiny: Workload) -> None:
    start = Candidate(module=tiny.make_model())
    for epochs in (1, 2):
        trained = Finetune(epochs=epochs, learning_rate=0.1).apply(start, tiny, Context(0, Silent()))
        assert trained.module is not None
        gain, last = trained.facts["last_epoch_gain"], trained.facts["validation"]
        assert isinstance(gain, float) and last == evaluate(trained.module, tiny, tiny.validation) and 0 < abs(gain) < 1
