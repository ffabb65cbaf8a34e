"""What the labs of emulated Arm say of what they saw. The emulator itself runs in `make arm-lab` alone: it takes minutes."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.arm import compress, finalists
from benchmarks.arm.boards import board
from benchmarks.arm.compress import Line, findings, report
from benchmarks.arm.emulated import PROCESSORS
from benchmarks.arm.finalists import CHILD, Agreement, compared, float_of, opened
from benchmarks.arm.places import LabError, made, run
from edgefleet_agent.hardware.probe import HardwareProbe
from tests.fakes.package import make_package

SAME = Agreement(rows=16, identical=16, max_difference=0.0, allowed=0.3)


def line(variant: str, processor: str, total: float, dot: float = 0.0, agreement: Agreement = SAME) -> Line:
    counts = {"dot": dot, "widening_multiply": 0.0, "other": total - dot}
    return Line("fashion", variant, processor, variant != "fp32", "fp32", agreement, counts)


def test_it_is_said_plainly_where_int8_buys_little() -> None:
    lines = [
        line("fp32", "Cortex-A72", 20e6),
        line("int8", "Cortex-A72", 16e6),
        line("fp32", "Cortex-A76", 20e6),
        line("int8", "Cortex-A76", 5e6, dot=3e6),
    ]
    said = findings(lines)
    assert "Every row of every quantized variant" in said[0]
    assert any(
        "Cortex-A72: **int8 buys little speed here**" in words and "1.25 times as many as fashion/int8" in words
        for words in said
    )
    assert any("Cortex-A76: int8 pays here" in words and "dot product" in words for words in said)
    assert "| fashion | Cortex-A76 | int8 | 16 of 16 | 0 | 0.3 | 5.00 | 4.00 | 3.00 | 0.00 |" in report(lines)


def test_a_variant_that_the_processor_cannot_take_is_marked() -> None:
    lacking = dataclasses.replace(line("int8", "Cortex-A72", 1e6), lacks=("asimddp",), runtime="1.32.0")
    said = report([line("fp32", "Cortex-A72", 2e6), lacking])
    assert "| int8 (not chosen: no asimddp) |" in said and "- Run with onnxruntime 1.32.0." in said


def test_rows_that_differ_are_stated_with_what_the_release_allows() -> None:
    apart = Agreement(rows=16, identical=15, max_difference=0.19, allowed=0.3)
    (said, *_) = findings([line("fp32", "Cortex-A53", 2e6), line("int8", "Cortex-A53", 1e6, agreement=apart)])
    assert "1 of 16 rows are not those that the scorer had" in said and "0.19" in said and "within" in said
    assert apart.held and not Agreement(16, 15, 0.4, 0.3).held


def test_rows_are_compared_bit_for_bit_over_every_output() -> None:
    scored = {"a": np.zeros((3, 2), np.float32), "b": np.zeros((3, 4, 4), np.float32)}
    answered = {name: values.copy() for name, values in scored.items()}
    answered["b"][1, 2, 2] = 0.5
    assert compared(scored, answered, 0.3) == Agreement(rows=3, identical=2, max_difference=0.5, allowed=0.3)
    with pytest.raises(LabError, match="shape"):
        compared(scored, answered | {"a": np.zeros((3, 3), np.float32)}, 0.3)


def test_the_child_answers_the_rows_of_a_package_as_its_scorer_did(tmp_path: Path) -> None:
    package = opened(make_package(tmp_path / "package"), limit=20)
    order = finalists._order(package, tmp_path)
    said = subprocess.run([sys.executable, str(CHILD), str(order)], capture_output=True, text=True, check=True).stdout
    about, *rows = (json.loads(row) for row in said.splitlines())
    assert about["features"] and [row["name"] for row in rows] == ["fp32", "int8"]
    for variant in package.runnable:
        answered = dict(np.load(tmp_path / f"{variant.name}.npz"))
        assert compared(package.scored[variant.name], answered, 0.0).identical == len(package.rows["input"])


def test_int8_is_set_against_the_float_of_the_same_network(tmp_path: Path) -> None:
    package = opened(make_package(tmp_path / "package", variants=("fp32", "pruned", "pruned-int8")), limit=4)
    recipes = ("train + export", "train + prune + export", "train + prune + export + int8")
    whole, pruned, small = (
        type(row)(**{name: getattr(row, name) for name in row.__struct_fields__} | {"recipe": recipe})
        for row, recipe in zip(package.release.variants, recipes, strict=True)
    )
    assert float_of(small, [whole, pruned]).name == "pruned"


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda one: one.name)
def test_the_faked_board_has_a_battery_and_heat_that_the_agent_reads(tmp_path: Path, processor) -> None:
    board(tmp_path / "board", processor)
    window = HardwareProbe(tmp_path, tmp_path / "board", "aarch64", keep=False).device_window()
    assert (window.battery_percent, window.battery_charging, window.temperature_c) == (63.0, False, 61.3)


def test_what_was_made_is_kept_and_what_was_half_made_is_made_anew(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise LabError("cut")

    def works(folder: Path) -> None:
        (folder / "whole").touch()

    target = tmp_path / "thing"
    with pytest.raises(LabError, match="cut"):
        made(target, "1", fails, "making")
    assert not target.exists()
    assert [path.name for path in made(target, "1", works, "making").iterdir()] == ["whole"]
    assert made(target, "1", fails, "making") == target
    with pytest.raises(LabError):
        made(target, "2", fails, "making, because the key is another")


def test_a_step_that_fails_shows_its_last_words_and_where_the_rest_is(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"sh ended with 3: no such luck.*step\.log"):
        run(["sh", "-c", "echo first; echo no such luck; exit 3"], log=tmp_path / "step.log")
    assert "first" in (tmp_path / "step.log").read_text()


def test_the_table_goes_between_the_marks_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "arm.md"
    page.write_text(f"before\n{compress.MARK}\nold\n{compress.END}\nafter\n")
    monkeypatch.setattr(compress, "PAGE", page)
    monkeypatch.setattr(compress, "ROOT", tmp_path)
    compress.write("new")
    assert page.read_text() == f"before\n{compress.MARK}\n\nnew\n{compress.END}\nafter\n"
