"""The search over combinations: what is tried, what goes on, and what comes out as recipes."""

import dataclasses
import json
from pathlib import Path

import pytest
import tomllib
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_compress import recipe
from edgefleet_compress.commands import main
from edgefleet_compress.recipe import Recipe, arrange_one
from edgefleet_compress.search.front import Score, fronts, promote
from edgefleet_compress.search.run import Plan
from edgefleet_compress.search.space import FAMILIAR, Point, draw, steps_of
from edgefleet_compress.search.written import recipes_text
from edgefleet_compress.targets import targets
from tests.compress.conftest import RECIPES, TINY

SCORES = st.builds(Score, st.integers(0, 5).map(float), st.integers(1, 5), st.integers(1, 5).map(float))


@st.composite
def points(choose: st.DrawFn) -> Point:
    return draw(lambda name, choices: choose(st.sampled_from(choices)))


@given(points(), st.integers(1, 8))
def test_every_point_is_a_recipe_whose_weights_take_their_form_last(point: Point, epochs: int) -> None:
    arranged = arrange_one(Recipe(point.name, steps_of(point, epochs)))
    names = [step.name for step in arranged.steps]
    assert names[-1] == "tidy" and "export" in names
    if point.weights != "free":
        assert names.index("export") == names.index(point.weights) + 1 and "quantize_static" in names
    assert ("prune" in names) == (point.prune > 0)


@given(st.lists(points(), unique=True, max_size=4))
def test_what_is_written_is_what_is_read(found: list[Point]) -> None:
    variants = [Recipe(f"v{number}", steps_of(point, 3)) for number, point in enumerate(found)]
    text = recipes_text((), variants, "made here")
    back = recipe.parse(tomllib.loads(text))
    expected = tuple(arrange_one(variant) for variant in variants)
    assert tuple(row for row in back.variants if row.name != "fp32") == expected


@settings(max_examples=200)
@given(st.lists(SCORES, max_size=12))
def test_the_first_front_is_beaten_by_nobody_and_beats_all_others(scores: list[Score]) -> None:
    rows = list(enumerate(scores))
    layers = fronts(rows, lambda row: row[1])
    assert sorted(row for layer in layers for row in layer) == rows
    for place, layer in enumerate(layers):
        assert not any(other[1].beats(row[1]) for row in layer for other in layer)
        for row in layers[place + 1] if place + 1 < len(layers) else []:
            assert any(better[1].beats(row[1]) for better in layer)


@given(st.lists(SCORES, max_size=12), st.integers(1, 12))
def test_what_lost_too_much_goes_on_only_where_nothing_better_is(scores: list[Score], most: int) -> None:
    rows = list(enumerate(scores))
    kept = promote(rows, lambda row: row[1], most, floor=3.0)
    assert len(kept) == min(most, len(rows)) == len(set(kept))
    if any(row[1].validation < 3 for row in kept):
        assert all(row in kept for row in rows if row[1].validation >= 3)


def test_rungs_double_up_to_the_epochs_asked_for() -> None:
    target = targets()[0]
    assert Plan(target, epochs=8).rungs == (2, 4, 8) and Plan(target, epochs=1).rungs == (1,)


def test_a_search_finds_recipes_that_run_and_a_second_one_trains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.toml"
    command = ["search", str(TINY), "--target", "pi4", "--recipes", str(RECIPES), "--out", str(out), "--json",
               "--trials", "9", "--epochs", "1", "--max-loss", "100"]  # fmt: skip
    assert main(command) == 0
    first = capsys.readouterr()
    said = json.loads(first.out)
    names = {row["name"] for row in said["tried"]} | {row["name"] for row in said["failed"]}
    assert {point.name for point in FAMILIAR} <= names and len(names) >= len(FAMILIAR)
    best = said["best"]
    assert best and best == sorted(best, key=lambda row: row["wire_bytes"])
    assert min(row["wire_bytes"] for row in best) < said["original"]["wire_bytes"] / 2
    read = recipe.load(out)
    assert [row.name for row in read.variants if row.name != "fp32"] == [row["name"] for row in best]
    assert read.original == recipe.load(RECIPES).original

    assert main(command) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == said
    assert "epoch 1 of" not in again.err


def test_what_cannot_be_searched_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["search", str(TINY), "--out", str(tmp_path / "found.toml")]
    assert main([*command, "--target", "pi6"]) == 2
    assert "there is no target 'pi6'" in capsys.readouterr().err
    assert main([*command, "--target", "pi4", "--trials", "0"]) == 2
    assert "1 or more" in capsys.readouterr().err


def test_names_of_points_are_their_own() -> None:
    varied = [Point(), Point(numbers="mse"), Point(prune=0.3), Point(prune=0.3, scope="global"), Point(prune=0.3, criterion="fpgm"),
              Point(rewrite="separable"), Point(rewrite="separable", prune=0.3), Point(rewrite="separable", prune=0.3, prune_first=True),
              Point(weights="aware", levels=15), Point(weights="alphabet", levels=15), Point(numbers="fp32")]  # fmt: skip
    assert len({point.name for point in varied}) == len(varied)
    assert dataclasses.replace(Point(), numbers="fp32").name == "plain"
