"""The tests that may be looked at after every device: their laws, and how often they are wrong."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_protocol.rollout import NotWorse
from edgefleet_server.rollouts.compare import Comparison, compare, devices_needed, expected_s
from edgefleet_server.rollouts.pairs import Pair
from edgefleet_server.rollouts.sequential import Counts, burstiness, error_evidence, interval, needed, upper_rate

from .compared import fleet

VALUES = st.lists(st.floats(-5, 5), min_size=2, max_size=40)


def verdict(pairs: list[Pair], rules: NotWorse, every: int = 1) -> tuple[Comparison, int]:
    """The first verdict, and after how many devices; asked after each."""
    found = compare((), rules)
    for count in range(rules.min_devices, len(pairs) + 1, every):
        found = compare(pairs[:count], rules)
        if found.result != "too little":
            return found, count
    return found, len(pairs)


@given(VALUES, st.floats(0.001, 0.4))
def test_an_interval_holds_the_mean_of_what_was_seen(values: list[float], alpha: float) -> None:
    found = interval(values, alpha)
    assert found.low <= found.mean <= found.high


@given(VALUES, st.floats(0.002, 0.2))
def test_to_be_surer_takes_a_wider_interval(values: list[float], alpha: float) -> None:
    surer, less = interval(values, alpha / 2), interval(values, alpha)
    assert surer.low <= less.low and surer.high >= less.high


@given(VALUES, st.floats(0.1, 10), st.floats(-3, 3))
def test_units_and_offsets_change_nothing(values: list[float], scale: float, shift: float) -> None:
    one, other = interval(values, 0.05), interval([scale * value + shift for value in values], 0.05)
    if math.isfinite(one.low):
        assert other.low == pytest.approx(scale * one.low + shift, abs=1e-4)
    else:
        assert other.low == one.low


def test_the_true_mean_leaves_the_interval_at_any_look_no_more_often_than_alpha() -> None:
    random, alpha, left = Random(7), 0.1, 0
    for _ in range(300):
        values: list[float] = []
        for _ in range(60):
            values.append(random.gauss(0.0, 0.05))
            found = interval(values, alpha)
            if not found.low <= 0.0 <= found.high:
                left += 1
                break
    assert left <= 300 * alpha


@given(st.floats(0.005, 0.2), st.floats(0.02, 0.5), st.floats(0.001, 0.1))
def test_as_many_as_are_needed_are_enough(spread: float, distance: float, alpha: float) -> None:
    count = needed(spread, distance, alpha)
    if count is not None:
        values = [spread * (-1) ** place for place in range(count)]  # their deviation is a little more than `spread`
        reach = interval(values, alpha).high - interval(values, alpha).mean
        assert reach <= distance * math.sqrt(count / (count - 1)) + 1e-9


@given(st.integers(0, 50), st.integers(51, 5000), st.floats(0.001, 0.4))
def test_an_upper_bound_lies_above_what_was_seen(errors: int, requests: int, alpha: float) -> None:
    bound = upper_rate(errors, requests, alpha)
    assert errors / requests <= bound <= 1
    assert bound <= upper_rate(errors, requests, alpha / 2) + 1e-12


def test_no_error_in_n_requests_is_bounded_by_the_rule_of_three() -> None:
    assert upper_rate(0, 1000, 0.05) == pytest.approx(1 - 0.05 ** (1 / 1000), rel=1e-6)


def test_errors_that_come_in_bursts_count_for_less() -> None:
    steady = [(Counts(5, 1000), Counts(5, 1000))] * 10
    bursts = [(Counts(0, 1000), Counts(50 if n == 0 else 0, 1000)) for n in range(10)]
    assert burstiness([pair[1] for pair in steady]) == 1.0
    assert burstiness([pair[1] for pair in bursts]) > 10
    even = [(Counts(0, 1000), Counts(5, 1000))] * 10
    assert error_evidence(bursts, 0.001, 0.05) < error_evidence(even, 0.001, 0.05)


@given(st.integers(0, 40), st.integers(0, 40))
def test_more_errors_after_are_more_evidence_and_more_before_are_less(before: int, after: int) -> None:
    def evidence(one: int, other: int) -> float:
        return error_evidence([(Counts(one, 2000), Counts(other, 2000))], 0.005, 0.05)

    if after >= 20:  # beyond what is allowed; below it the evidence is small either way
        assert evidence(before, after + 5) >= evidence(before, after)
        assert evidence(before + 5, after) <= evidence(before, after) * (1 + 1e-9)


def test_a_release_at_its_margin_is_stopped_no_more_often_than_alpha_whenever_one_looks() -> None:
    rules = NotWorse(alpha=0.1)
    stopped = 0
    for seed in range(50):
        pairs = list(fleet(24, seed, slower_percent=5.0, classes=("pi4", "pi5")))
        stopped += verdict(pairs, rules, every=3)[0].result == "worse"
    assert stopped <= 5


@pytest.mark.parametrize(
    ("devices", "slower", "points", "most"),
    [(10, 20.0, 0.0, 10), (50, 10.0, 0.0, 40), (10, 50.0, 0.0, 6), (50, 0.0, 2.0, 25)],
)
def test_a_bad_model_is_found_within_so_many_devices(devices: int, slower: float, points: float, most: int) -> None:
    for seed in range(5):
        pairs = list(fleet(devices, seed, slower_percent=slower, error_points=points))
        found, count = verdict(pairs, NotWorse())
        assert (found.result, count <= most) == ("worse", True), (seed, count, found.why)


def test_what_is_worse_on_one_class_only_is_found_there_and_named() -> None:
    good = list(fleet(20, 1, classes=("pi4",)))
    bad = list(fleet(20, 2, slower_percent=60.0, classes=("pi-zero-2-w",)))
    mixed = [pair for both in zip(good, bad, strict=True) for pair in both]
    found = compare(mixed, NotWorse(latency_percent=40.0, error_points=None))
    assert found.result == "worse"
    assert found.why.startswith("latency on pi-zero-2-w is worse: ")
    assert "where +40.0 % may, on 20 devices" in found.why


def test_enough_good_devices_are_not_worse_and_few_are_too_little() -> None:
    pairs = list(fleet(60, 5))
    few, many = compare(pairs[:4], NotWorse()), compare(pairs, NotWorse())
    assert (few.result, many.result) == ("too little", "not worse")
    assert few.why.startswith("4 devices compared with the model before; about ")
    assert compare((), NotWorse()).why.startswith("0 devices compared")


def test_a_margin_that_no_device_can_measure_is_too_little_and_says_so() -> None:
    found = compare(list(fleet(60, 5)), NotWorse(energy_percent=10.0))
    assert found.result == "too little"
    assert "energy is open: no device measured it on both sides" in found.why


def test_equal_numbers_from_one_bucket_are_no_proof() -> None:
    """Latencies are told in buckets of 4.4 %: a fast model may seem to have moved by a whole one on every device alike."""
    step = math.log(2) / 16
    alike = [
        Pair(f"d{n}", "pi4", float(n), "fashion/1", 1000, 100, 0, 0, latency=step, rounding=2 * step / math.pi)
        for n in range(30)
    ]
    assert compare(alike, NotWorse(latency_percent=3.0, error_points=None)).result == "too little"


@settings(max_examples=30)
@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=30), st.integers(1, 30))
def test_the_time_to_a_verdict_is_that_of_the_slowest_device_that_is_needed(rates: list[float], enough: int) -> None:
    rules = NotWorse(min_requests=100, warm_up_s=60.0)
    found = expected_s(rates, rules, 0, enough)
    if enough > len(rates):
        assert found is None
    else:
        assert found == pytest.approx(60 + 100 / sorted(rates, reverse=True)[enough - 1])


def test_more_spread_takes_more_devices() -> None:
    calm, wild = list(fleet(20, 1, spread=0.02)), list(fleet(20, 1, spread=0.1))
    assert (devices_needed(calm, NotWorse()) or 0) < (devices_needed(wild, NotWorse()) or 10**9)


@given(st.lists(st.floats(-1, 1), max_size=30))
def test_what_others_drifted_by_can_only_keep_a_release_from_being_stopped(drifts: list[float]) -> None:
    slow, fine = list(fleet(15, 3, slower_percent=15.0)), list(fleet(60, 5))
    if compare(slow, NotWorse(), None, drifts).result == "worse":
        assert compare(slow, NotWorse()).result == "worse"
    assert compare(fine, NotWorse(), None, drifts).result == compare(fine, NotWorse()).result
