"""The Pareto front and the picture of it."""

import itertools
import xml.etree.ElementTree as ElementTree

import pytest

from edgefleet_compress.package.chart import Point, front, scatter, ticks

POINTS = [Point("a", 1, 80), Point("b", 2, 90), Point("c", 3, 85), Point("d", 2, 70), Point("e", 4, 91)]


def test_the_front_holds_what_no_other_beats() -> None:
    assert [point.name for point in front(POINTS)] == ["a", "b", "e"]


def test_equal_points_need_one_place_on_the_front() -> None:
    assert [point.name for point in front([Point("a", 1, 1), Point("b", 1, 1)])] == ["a"]


@pytest.mark.parametrize(("low", "high"), [(0, 644), (87.5, 89.9), (0, 0.17), (5, 5), (0, 1e-6), (-3, 3)])
def test_ticks_are_few_even_and_enclose_the_values(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 9
    steps = {round((b - a) / (found[1] - found[0]), 6) for a, b in itertools.pairwise(found)}
    assert steps == {1.0}


@pytest.mark.parametrize("points", [POINTS, POINTS[:1], [Point("<b>", 0.1, 50), Point("same", 0.1, 50)]])
def test_the_picture_is_well_formed_and_shows_every_name(points: list[Point]) -> None:
    tree = ElementTree.fromstring(scatter(points, "kB", "accuracy %"))
    texts = [element.text for element in tree.iter("text")]
    assert all(point.name in texts for point in points)
