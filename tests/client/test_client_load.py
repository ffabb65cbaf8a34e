"""The load generator tells right answers from wrong ones, and counts what fails."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_client.answers import Answers
from edgefleet_client.load import parse_answers, read_inputs
from tests.fakes.served import FEATURES, SAMPLES, ready, until, write_model

ONE = np.array([[0.1, 0.9], [0.8, 0.2]], np.float32)


def package(folder: Path, variants: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]) -> Path:
    """Write what a load generator reads of a package."""
    (folder / "check").mkdir(parents=True, exist_ok=True)
    for name, values in variants.items():
        values.astype("<f4").tofile(folder / f"check/{name}.f32")
    return folder


@pytest.mark.parametrize(
    ("index", "output", "release", "variant", "words"),
    [
        (0, [0.12, 0.88], "m/1", "small", None),
        (1, [0.12, 0.88], "m/1", "small", "differs by"),
        (0, [0.2, 0.8], "m/1", "small", "differs by 0.1"),
        (0, [np.nan, 0.9], "m/1", "small", "differs by nan"),
        (0, [0.1, 0.9, 0.0], "m/1", "small", "3 values"),
        (0, [0.3, 0.7], "m/2", "small", None),
        (0, [0.3, 0.7], "m/1", "other", None),
        (0, [0.7, 0.3], "m/2", "small", "the known ones [1]"),
    ],
)
def test_answers_are_judged(
    tmp_path: Path, index: int, output: list[float], release: str, variant: str, words: str | None
) -> None:
    answers = Answers(2, 0.05, {"m/1": package(tmp_path, {"small": ONE})})
    why = answers.wrong(index, np.array(output, np.float32), release, variant)
    assert why is None if words is None else why is not None and words in why


def test_a_tie_may_fall_either_way_and_the_tolerance_grows_with_the_range(tmp_path: Path) -> None:
    logits = np.array([[20.0, 19.9, -20.0]], np.float32)
    answers = Answers(1, 0.05, {"m/1": package(tmp_path, {"small": logits})})
    assert answers.wrong(0, np.array([19.5, 20.0, -19.0], np.float32), "m/1", "small") is None
    assert answers.wrong(0, np.array([20.0, 19.9, -17.0], np.float32), "m/1", "small") is not None


def test_packages_can_come_while_it_runs(tmp_path: Path) -> None:
    known = tmp_path / "answers.json"
    answers = Answers(2, 0.05, {}, known)
    wrong = np.array([0.9, 0.1], np.float32)
    assert answers.wrong(0, wrong, "m/1", "small") is None
    known.write_text("{half")
    assert answers.wrong(0, wrong, "m/1", "small") is None
    known.write_text(json.dumps({"m/1": str(package(tmp_path / "p", {"small": ONE}))}))
    assert answers.wrong(0, wrong, "m/1", "small") is not None


def test_arguments_are_read(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text('{"model": "m", "version": 3}')
    assert parse_answers([f"m/1=a,{tmp_path}", "m/2=b"]) == {"m/1": Path("a"), "m/3": tmp_path, "m/2": Path("b")}
    np.zeros(12, "<f4").tofile(tmp_path / "x.f32")
    assert read_inputs(tmp_path / "x.f32", "1,2,3").shape == (2, 1, 2, 3)
    for shape in ("5", "a", "0", "-12"):
        with pytest.raises(ValueError, match=r"shape|samples"):
            read_inputs(tmp_path / "x.f32", shape)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[ProcessLauncher]:
    """The real thing."""
    made = ProcessLauncher(tmp_path / "run")
    yield made
    made.close()


def load(launcher: ProcessLauncher, folder: Path, *more: str) -> "subprocess.Popen[str]":
    """Start the generator against the model of `folder`."""
    command = [sys.executable, "-m", "edgefleet_client", "load", "--model", "fashion", "--shape", str(FEATURES),
               "--socket", str(launcher.socket_path("fashion")), "--inputs", str(folder / "golden/image.bin"),
               "--rate", "200", "--json-lines", *more]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_real_requests_flow_through_a_switch_and_a_wrong_model_is_found_out(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    specs = [write_model(tmp_path / "one"), write_model(tmp_path / "two", release="fashion/2", seed=2)]
    scores = np.fromfile(tmp_path / "one/golden/small.bin", "<f4").reshape(SAMPLES, -1)
    right = package(tmp_path / "right", {"small": scores})
    first = launcher.start(specs[0])
    generator = load(launcher, tmp_path / "one", "--answers", f"fashion/1={right}")
    ready(first)
    first.accept()
    assert generator.stdout is not None
    line = json.loads(generator.stdout.readline())
    while line["sent"] < 50:
        line = json.loads(generator.stdout.readline())
    assert line["failed"] == 0, line
    second = launcher.start(specs[1])
    ready(second)
    second.accept()
    first.pause()
    while not line["wrong"]:
        line = json.loads(generator.stdout.readline())
    generator.terminate()
    *_, last = generator.stdout.read().splitlines()
    assert generator.wait(60) == 1
    final = json.loads(last)
    assert final["final"] is True
    assert final["failed"] == final["wrong"] > 0 and final["refused"] == final["timed_out"] == final["broken"] == 0
    assert "fashion/2 small says" in final["last_error"]
    assert final["releases"]["fashion/1 small"] >= 50
    assert final["p50_s"] <= final["p95_s"]


def test_a_run_without_a_fault_ends_with_0_and_a_dead_server_is_counted(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    worker = launcher.start(write_model(tmp_path))
    ready(worker)
    worker.accept()
    good = load(launcher, tmp_path, "--seconds", "0.5", "--fresh")
    out, _ = good.communicate(timeout=120)
    assert good.returncode == 0, out
    assert json.loads(out.splitlines()[-1])["sent"] > 0
    worker.stop(0.0)
    until(lambda: worker.poll() == "dead", "it ends")
    launcher.close()
    bad = load(launcher, tmp_path, "--seconds", "0.5", "--wait", "0")
    out, _ = bad.communicate(timeout=120)
    final = json.loads(out.splitlines()[-1])
    assert bad.returncode == 1 and final["refused"] == final["sent"] > 0
