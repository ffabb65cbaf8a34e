"""A mistake that was there from the start is said before anything is trained."""

from pathlib import Path

import pytest

from edgefleet_compress.commands import main
from edgefleet_compress.steps import finetune
from tests.compress.conftest import RECIPES, TINY


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise AssertionError("it was trained first")

    monkeypatch.setattr(finetune, "train", train)


def run(tmp_path: Path, out: str, *more: str, recipes: Path = RECIPES) -> int:
    return main(["run", str(TINY), "--recipes", str(recipes), "--out", str(tmp_path / out), *more])


def test_a_folder_that_is_no_package_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    assert run(tmp_path, "mine") == 1
    assert "is there and is no package" in capsys.readouterr().err
    assert not (tmp_path / "mine-work").exists()


def test_a_place_that_cannot_be_written_is_named_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(tmp_path, "out", "--work", str(tmp_path / "file" / "work")) == 1
    said = capsys.readouterr().err
    assert f"the work folder {tmp_path / 'file' / 'work'} cannot be written: Not a directory" in said
    assert "Errno" not in said and "--work" in said
    assert run(tmp_path, "file/out", "--work", str(tmp_path / "work")) == 1
    said = capsys.readouterr().err
    assert f"the folder of the package {tmp_path / 'file'} cannot be written" in said and "Errno" not in said


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ('{ step = "quantize_static", samples = 64, exclude = ["/nose/Conv"] }', "exclude names ['/nose/Conv']"),
        ('"export", "tidy", { step = "quantize_static", samples = 64, exclude = ["/head/Gemm"] }', "nodes are []"),
        ('{ step = "prune", keep = ["nose"] }', "keep names ['nose'], and the model has ['stem'"),
        (
            '{ step = "quantize_static", samples = 401 }',
            "401 calibration samples were asked for and the workload has 400",
        ),
        ('"quantize_static", "quantize_static"', "quantized already"),
    ],
)
def test_a_name_or_count_that_there_is_not_is_said_with_its_variant(
    steps: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipes = tmp_path / "recipes.toml"
    recipes.write_text(f'[original]\nsteps = ["finetune"]\n[[variant]]\nname = "odd"\nsteps = [{steps}]\n')
    assert run(tmp_path, "out", recipes=recipes) == 2
    said = capsys.readouterr().err
    assert "variant 'odd'" in said and words in said


def test_a_model_without_an_onnx_form_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipes = tmp_path / "recipes.toml"
    recipes.write_text(
        '[original]\nsteps = ["finetune"]\n[[variant]]\nname = "odd"\nsteps = [{ step = "export", ir = 7 }]\n'
    )
    assert run(tmp_path, "out", recipes=recipes) == 1
    assert "IR 7 was asked for and the exporter wrote 8" in capsys.readouterr().err
