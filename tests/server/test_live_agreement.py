"""Agreement on live answers, from the spreads of confidence that devices tell: what it measures, and how often it is wrong."""

from collections import Counter
from random import Random

import pytest

from edgefleet_protocol.rollout import NotWorse
from edgefleet_protocol.sketch import Sketch
from edgefleet_server.rollouts.compare import Comparison, compare
from edgefleet_server.rollouts.pairs import Pair
from edgefleet_server.rollouts.spreads import apart

from .test_rollout_order import order

RULES = NotWorse(latency_percent=None, error_points=None, agreement_live_percent=90.0)
SURE = (0.05, 0.05, 0.1, 0.2, 0.6)
"""Shares of answers by how sure they are, in five buckets."""


def told(random: Random, shares: tuple[float, ...], answers: int) -> Sketch:
    """What a device tells of so many answers."""
    counts = Counter(random.choices(range(len(shares)), shares, k=answers))
    # Two buckets of a sketch are one here; the last is that of the surest.
    return Sketch(
        offset=-2 * len(shares), counts=tuple(counts[n // 2] if n % 2 == 0 else 0 for n in range(2 * len(shares)))
    )


def moved(share: float) -> tuple[float, ...]:
    """So many of all answers are less sure than they were."""
    return (SURE[0] + share, *SURE[1:4], SURE[4] - share)


def fleet(devices: int, share: float, seed: int, answers: int = 100) -> list[Pair]:
    random = Random(seed)
    found = []
    for number in range(devices):
        own = min(max(random.gauss(share, 0.01), 0.0), 0.6)
        far = apart([told(random, SURE, 10 * answers)], [told(random, moved(own), answers)])
        found.append(Pair(f"d{number}", "pi4", float(number), "fashion/1", 1000, 100, 0, 0, apart=far))
    return found


def said(devices: int, share: float, seed: int = 1) -> Comparison:
    return compare(fleet(devices, share, seed), RULES)


def test_it_is_the_share_of_answers_that_cannot_be_as_sure_and_chance_is_no_part_of_it() -> None:
    random = Random(3)
    many = [told(random, row, 200_000) for row in (SURE, SURE, moved(0.2))]
    assert apart(many[:1], many[1:2]) == pytest.approx(0.0, abs=0.003)
    assert apart(many[:1], many[2:]) == pytest.approx(0.2, abs=0.004)
    few = [apart([told(random, SURE, 1000)], [told(random, SURE, 100)]) for _ in range(300)]
    assert abs(sum(value for value in few if value is not None) / 300) < 0.01
    assert apart([], many[:1]) is None, "a device that tells no confidence says nothing"


def test_a_model_that_answers_otherwise_is_worse_and_the_same_one_is_not() -> None:
    other = said(20, 0.25)
    assert other.result == "worse"
    assert "agreement with the model before on live answers is worse: 7" in other.why
    assert "where 90.0% must, on 20 devices" in other.why
    assert said(60, 0.0).result == "not worse"
    (finding,) = compare([Pair("d", "pi4", 0.0, "fashion/1", 9, 9, 0, 0)] * 9, RULES).findings
    assert (finding.result, finding.figure) == ("too little", "no device measured it on both sides")


def test_a_model_at_the_margin_is_stopped_no_more_often_than_is_said_however_often_it_is_asked() -> None:
    stopped = 0
    for seed in range(60):
        pairs = fleet(30, 0.1, seed)
        stopped += any(compare(pairs[:count], RULES).result == "worse" for count in range(3, 31))
    assert stopped <= 60 * RULES.alpha


def test_it_is_asked_for_by_its_name() -> None:
    rules = order("--not-worse", "agreement-live=92").gate.not_worse
    assert rules is not None and (rules.agreement_live_percent, rules.latency_percent) == (92.0, None)
