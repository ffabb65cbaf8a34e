"""Who is meant: alike on the device and in the plan, and stable from stage to stage."""

from math import sqrt

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
