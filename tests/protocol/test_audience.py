"""Who is meant: alike on the device and in the plan, and stable from stage to stage."""

from datetime import datetime, timedelta, timezone
from math import sqrt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol import audience
from edgefleet_protocol.audience import models_of, stable_number, why_not, wish_for
from edgefleet_protocol.rollout import Audience, Stage
from tests.protocol.sample import assignment, rollout

EVERYONE = assignment()


def stages(*percents: float, stage: int = 0, **changes):
    return assignment(stages=tuple(Stage(percent=percent) for percent in percents), stage=stage, **changes)


@given(st.text(max_size=80))
def test_everyone_has_a_number_below_100_and_the_same_each_time(device):
    number = stable_number(device, EVERYONE)
    assert 0 <= number < 100
    assert number == stable_number(device, stages(1.0, 50.0))


def test_numbers_are_uniform():
    count = 20_000
    tenths = [0] * 10
    for index in range(count):
        tenths[int(stable_number(f"device-{index}", EVERYONE) // 10)] += 1
    # Six standard deviations of a binomial: what a uniform hash passes always and a lopsided one never.
    assert all(abs(tenth - count / 10) < 6 * sqrt(count * 0.09) for tenth in tenths)


def test_the_largest_number_is_still_in_an_audience_of_everyone(monkeypatch):
    class Largest:
        def __init__(self, _: bytes) -> None:
            pass

        def digest(self) -> bytes:
            return b"\xff" * 32

    monkeypatch.setattr(audience.hashlib, "sha256", Largest)
    assert stable_number("pi-7", EVERYONE) < 100
    assert why_not("pi-7", (), "pi4", EVERYONE) is None


@given(st.integers(0, 10**9), st.lists(st.floats(0, 100), min_size=2, max_size=6).map(sorted))
def test_a_wider_stage_keeps_everyone_of_the_narrower(index, percents):
    admitted = [
        why_not(f"d{index}", (), "pi4", stages(*percents, stage=stage)) is None for stage in range(len(percents))
    ]
    assert admitted == sorted(admitted)


def test_another_release_has_other_first_devices():
    first = {n for n in range(1000) if stable_number(f"d{n}", assignment("fashion/3")) < 10}
    second = {n for n in range(1000) if stable_number(f"d{n}", assignment("fashion/4")) < 10}
    assert 0 < len(first & second) < len(first) / 2


@pytest.mark.parametrize(
    ("given_", "words"),
    (
        (assignment(audience=Audience(tags=("lab", "camera"))), "it is for devices tagged camera"),
        (assignment(audience=Audience(hardware=("pi5", "orin-nano"))), "it is for pi5, orin-nano and this is pi4"),
        (stages(0.0), "it is for 0 % of devices now and this one is at "),
        (assignment(audience=Audience(tags=("lab",), hardware=("pi4",))), None),
        (assignment(), None),
    ),
)
def test_a_device_that_is_not_meant_is_told_why(given_, words):
    reason = why_not("pi-7", ("lab",), "pi4", given_)
    assert (reason is None) if words is None else (reason is not None and reason.startswith(words))


def test_nobody_is_admitted_by_nought_percent_and_everyone_by_a_hundred():
    devices = [f"d{n}" for n in range(2000)]
    assert all(why_not(device, (), "pi4", stages(0.0)) for device in devices)
    assert not any(why_not(device, (), "pi4", stages(100.0)) for device in devices)


def test_a_stage_beyond_the_last_is_the_last():
    assert stages(10.0, 100.0, stage=31).percent == 100.0


def test_the_first_assignment_that_admits_is_the_wish_and_the_others_say_why_not():
    new = assignment("fashion/4", audience=Audience(hardware=("pi5",)))
    old = assignment("fashion/3")
    wish, why = wish_for("fashion", "pi-7", (), "pi4", rollout(new, old))
    assert wish == old
    assert why == "releases/fashion/4.json: it is for pi5 and this is pi4"
    assert wish_for("fashion", "pi-7", (), "pi5", rollout(new, old)) == (new, "")


def test_without_an_assignment_there_is_no_wish():
    assert wish_for("other", "pi-7", (), "pi4", rollout(assignment())) == (None, "no assignment names other")
    wish, why = wish_for("fashion", "pi-7", (), "pi4", rollout(assignment(audience=Audience(tags=("lab",)))))
    assert wish is None
    assert why == "releases/fashion/3.json: it is for devices tagged lab"


def test_models_are_named_once_in_order():
    assert models_of(rollout(assignment("b/1"), assignment("a/1"), assignment("b/2"))) == ("b", "a")


def staged(*rows: Stage, stage: int = 0, **changes):
    return assignment(stages=rows, stage=stage, **changes)


def test_an_explicit_cohort_is_let_in_whatever_its_numbers_and_stays_in():
    wish = staged(Stage(percent=0.0, devices=("pi-7",)), Stage(percent=100.0))
    assert why_not("pi-7", (), "pi4", wish) is None
    assert why_not("pi-8", (), "pi4", wish) == "it comes in stage 2 of 2 and stage 1 is open"
    assert why_not("pi-7", (), "pi4", msgspec.structs.replace(wish, stage=1)) is None


def test_a_stage_by_hardware_or_tags_leaves_the_others_to_a_later_one():
    wish = staged(Stage(percent=100.0, hardware=("pi4",), tags=("lab",)), Stage(percent=100.0, hardware=("pi4",)))
    assert why_not("pi-7", ("lab",), "pi4", wish) is None
    assert why_not("pi-7", (), "pi4", wish) == "it comes in stage 2 of 2 and stage 1 is open"
    assert why_not("pi-7", ("lab",), "pi5", wish) == "no stage is for it: the last is for pi4 and this is pi5"


@given(st.integers(0, 10**6), st.floats(0, 100), st.floats(0, 100), st.integers(0, 2))
def test_a_wave_lets_in_more_and_never_takes_back(index, first, second, stage):
    rows = (Stage(percent=10.0), Stage(percent=60.0, hardware=("pi4",)), Stage(percent=100.0))
    low, high = sorted((first, second))
    wishes = [staged(*rows, stage=stage, opened_percent=opened) for opened in (low, high)]
    before, after = (why_not(f"d{index}", (), "pi4", wish) is None for wish in wishes)
    assert after or not before
    whole = why_not(f"d{index}", (), "pi4", staged(*rows, stage=stage)) is None
    assert whole or not after


@given(st.integers(0, 10**6), st.integers(0, 2))
def test_stages_of_any_kind_only_grow(index, stage):
    rows = (Stage(percent=0.0, devices=("d1", "d2")), Stage(percent=30.0, tags=("lab",)), Stage(percent=80.0))
    admitted = [why_not(f"d{index}", ("lab",), "pi4", staged(*rows, stage=n)) is None for n in range(3)]
    assert admitted == sorted(admitted)


def test_who_joined_after_a_rollout_began_waits_until_it_is_complete_where_it_says_so():
    began = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
    wish = assignment(joined_before=began)
    assert why_not("pi-7", (), "pi4", wish, began - timedelta(seconds=1)) is None
    assert why_not("pi-7", (), "pi4", wish) is None, "nobody told it when it joined"
    reason = why_not("pi-7", (), "pi4", wish, began)
    assert reason and "joined the region on 2026-11-01 12:00 UTC" in reason
