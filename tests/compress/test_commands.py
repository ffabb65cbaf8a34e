"""The command as people use it: exit codes, words, what an interruption leaves, what a second run repeats."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from torch import Tensor, nn

from edgefleet_compress.commands import main
from edgefleet_compress.steps import prune
from edgefleet_compress.steps.prune import cut
from edgefleet_compress.work import Work
from tests.compress.conftest import RECIPES, TINY
from tests.fakes.package import make_release, write_package


def run(out: Path, *more: str, recipes: Path = RECIPES, workload: Path = TINY) -> int:
    return main(["run", str(workload), "--recipes", str(recipes), "--out", str(out), *more])


SLOW = """
import sys, time
from edgefleet_compress import progress
from edgefleet_compress.commands import main

def end(self, result, before=progress.Lines.end):
    before(self, result)
    if f"{self._title}: {result}".startswith(sys.argv[1]):
        time.sleep(600)

progress.Lines.end = end
sys.exit(main(sys.argv[2:]))
"""
"""The command, in which the step after a line takes until somebody interrupts it."""


def process(out: Path, slow_after: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, slow_after, "run", str(TINY), "--recipes", str(RECIPES), "--out", str(out)]
    # A session of its own: a signal that a terminal would send reaches this process and no other.
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_finished_steps_outlive_an_interruption_and_are_not_repeated(
    how: signal.Signals, code: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "package"
    running = process(out, "int8: measure")
    assert running.stderr is not None
    seen = []
    for line in running.stderr:
        seen.append(line)
        if line.startswith("int8: measure"):
            running.send_signal(how)
            break
    seen += running.stderr.readlines()
    running.stderr.close()
    assert running.wait() == code
    assert not out.exists()
    finished = [line.split(": ")[1] for line in seen if line.startswith("fp32: finetune")]
    assert finished == ["finetune 1 epochs"]

    assert run(out) == 0
    again = capfd.readouterr().err.splitlines()
    assert any(line.startswith("fp32: finetune 1 epochs: kept from before") for line in again)
    assert any(line.startswith("int8: int8 (minmax): kept from before") for line in again)
    assert any("as measured before" in line for line in again if line.startswith("int8: measure"))
    assert (out / "release.json").is_file()
    assert not list((tmp_path / "package-work").glob("unfinished-*")) or how == signal.SIGKILL


def test_a_shared_beginning_runs_once_and_a_second_run_trains_nothing(
    package: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    work = package.with_name("package-work")
    before = {path.name: path.stat().st_mtime_ns for path in work.iterdir()}
    assert run(tmp_path / "second", "--work", str(work), "--json") == 0
    captured = capfd.readouterr()
    assert {path.name: path.stat().st_mtime_ns for path in work.iterdir()} == before
    steps = [
        line
        for line in captured.err.splitlines()
        if ": measure" not in line and not line.startswith(("package", "WARNING"))
    ]
    assert steps and all("kept from before" in line for line in steps)
    first = json.loads((package / "release.json").read_text())
    second = json.loads((tmp_path / "second" / "release.json").read_text())
    assert [entry["sha256"] for entry in first["files"]] == [entry["sha256"] for entry in second["files"]]
    assert json.loads(captured.out)["left_out"] == []


def test_another_seed_another_work_but_a_broken_result_is_made_anew(package: Path, tmp_path: Path) -> None:
    work = Work(package.with_name("package-work"))
    keys = [path.name for path in work.folder.iterdir() if (path / "model.onnx").exists()]
    kept = work.load(keys[0])
    assert kept is not None and kept.onnx is not None
    copy = Work(tmp_path)
    copy.save("k", kept)
    assert copy.load("k") == kept
    (tmp_path / "k" / "model.onnx").write_bytes(kept.onnx[:-1])
    assert copy.load("k") is None


def test_a_variant_that_loses_too_much_is_left_out_with_its_reason(
    tmp_path: Path, package: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = tmp_path / "recipes.toml"
    step = '{ step = "prune", ratio = 0.5, tolerance_points = 0, attempts = 1, recover = { step = "finetune", epochs = 1, learning_rate = 1e-9 } }'
    recipes.write_text(
        '[original]\nsteps = [{ step = "finetune", epochs = 1, learning_rate = 0.1 }]\n'
        f'[[variant]]\nname = "p50"\nsteps = [{step}]\n'
        f'[[variant]]\nname = "p50-int8"\nsteps = [{step}, "quantize_static"]\n'
    )
    work = str(package.with_name("package-work"))
    cuts: list[float] = []

    def counted(model: nn.Module, example: Tensor, ratio: float, *more: Any) -> None:
        cuts.append(ratio)
        cut(model, example, ratio, *more)

    monkeypatch.setattr(prune, "cut", counted)
    assert run(tmp_path / "out", "--work", work, "--json", recipes=recipes) == 0
    assert cuts == [0.5]  # the second variant begins alike, and what failed is not tried again
    said = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in said["variants"]] == ["fp32"]
    assert [entry["name"] for entry in said["left_out"]] == ["p50", "p50-int8"]
    assert said["left_out"][0]["why"] == said["left_out"][1]["why"] and "50% lost" in said["left_out"][0]["why"]
    assert "Left out" in (tmp_path / "out" / "report.html").read_text()


def test_the_example_is_written_and_ready_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgefleet_compress import recipe, workload

    assert main(["example", str(tmp_path / "mine")]) == 0
    assert "edgefleet compress run" in capsys.readouterr().out
    loaded = workload.load(tmp_path / "mine" / "workload.py")
    assert loaded.workload.name == "fashion" and len(loaded.workload.test) >= 3000
    recipes = recipe.load(tmp_path / "mine" / "recipes.toml")
    assert len(recipes.variants) >= 4
    assert main(["example", str(tmp_path / "mine")]) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["run", "none.py", "--recipes", str(RECIPES), "--out", "o"], 3, "no workload file none.py"),
        (["run", str(TINY), "--recipes", "none.toml", "--out", "o"], 3, "no recipes file none.toml"),
        (["show", "nowhere"], 3, "is no package"),
        (["run", str(TINY)], 2, "required"),
        (["run", str(TINY), "--recipes", str(RECIPES), "--out", "o", "--threads", "0"], 2, "0 is below 1"),
        ([], 2, "required"),
    ],
)
def test_mistakes_have_their_exit_code_and_words(
    argv: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == code
    assert words in capsys.readouterr().err


def test_a_bad_recipe_and_a_bad_workload_are_mistakes_of_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.toml").write_text('[[variant]]\nname = "v"\nsteps = ["shrink"]\n')
    assert run(tmp_path / "o", recipes=tmp_path / "r.toml") == 2
    (tmp_path / "w.py").write_text("import nothing_of_that_name\n")
    assert run(tmp_path / "o", workload=tmp_path / "w.py") == 2
    said = capsys.readouterr().err
    assert "no step 'shrink'" in said and "cannot be imported" in said


def test_a_full_disk_is_said_with_what_to_do_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)  # a disk that really fills would need rights that tests do not have
    assert run(tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "no space left" in said and "--work or --out" in said and "are kept" in said
    assert not (tmp_path / "out").exists() and not list((tmp_path / "out-work").iterdir())


def test_a_package_that_names_no_original_is_shown_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release, files = make_release()
    write_package(tmp_path / "package", msgspec.structs.replace(release, original_accuracy=None), files)
    assert main(["show", str(tmp_path / "package")]) == 0
    assert release.variants[0].name in capsys.readouterr().out


def test_help_is_there_without_loading_torch() -> None:
    code = (
        "import sys; from edgefleet_compress.commands import main; main(['--help']); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "example" in done.stdout
