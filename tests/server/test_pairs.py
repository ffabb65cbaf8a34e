"""One device before and after its switch, from its windows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.rollout import NotWorse
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_server.rollouts.pairs import DAY_S, Pair, Seen, has_enough, pair_of

RULES = NotWorse(min_requests=20, warm_up_s=60.0)
NOON = 12 * 3600.0


def window(
    at_s: float,
    release: str,
    seconds: float = 0.010,
    *,
    requests: int = 10,
    errors: int = 0,
    memory: int | None = None,
    confidence: float | None = None,
    energy: float | None = None,
) -> Seen:
    latency, sure = SketchBuilder(), SketchBuilder()
    for number in range(requests):
        latency.add(seconds * (0.8 + 0.4 * number / max(requests - 1, 1)))
        if confidence is not None:
            sure.add(confidence * (0.9 + 0.1 * number / max(requests - 1, 1)))
    return Seen(
        placed_s=at_s,
        seconds=60.0,
        release=release,
        requests=requests,
        errors=errors,
        latency=latency.build(),
        memory_bytes=memory,
        confidence=None if confidence is None else sure.build(),
        energy_j=energy,
    )


def course(before: str = "fashion/1", after: str = "fashion/2", factor: float = 1.5, **rest: float) -> list[Seen]:
    """Five windows of the one and five of the other; the switch is at DAY_S + NOON."""
    start = DAY_S + NOON
    return [window(start - 60 * n, before, **rest) for n in range(1, 6)] + [  # type: ignore[arg-type]
        window(start + 60 * n, after, 0.010 * factor, **rest)  # type: ignore[arg-type]
        for n in range(5)
    ]


def pair(windows: list[Seen], rules: NotWorse = RULES, began_s: float = DAY_S) -> Pair | None:
    return pair_of("one", "pi4", windows, "fashion/2", began_s, rules)


def test_the_difference_is_that_of_the_two_models_on_this_device() -> None:
    found = pair(course(factor=1.5))
    assert found is not None
    assert found.latency == pytest.approx(math.log(1.5), abs=0.03)
    assert (found.before, found.requests_after) == ("fashion/1", 20)
    assert found.at_s == DAY_S + NOON + 3 * 60, "the warm-up is left out, and two windows are enough"


def test_nothing_is_said_before_both_sides_have_enough() -> None:
    whole = course()
    assert pair(whole[:7]) is None, "one window after the warm-up"
    assert pair(whole[5:]) is None, "nothing ran before"
    assert pair([row for row in whole if row.release != "fashion/2"]) is None
    assert pair(whole[:1] + whole[5:]) is None, "one window before"


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 90), st.sampled_from([0.0, 60.0, 130.0]))
def test_who_served_enough_to_be_compared_is_known_without_reading_what_ran_before(
    requests: list[int], least: int, later_s: float
) -> None:
    start, rules = DAY_S + NOON, NotWorse(min_requests=least, warm_up_s=60.0)
    after = [window(start + 60 * n, "fashion/2", requests=many) for n, many in enumerate(requests)]
    before = [window(start - 60, "fashion/1", requests=90)]
    served = [(row.placed_s, row.requests) for row in after if row.requests]
    found = pair_of("one", "pi4", [*before, *after], "fashion/2", DAY_S, rules, later_s)
    assert has_enough(served, rules, later_s) == (found is not None)


@given(st.permutations(range(10)), st.integers(0, 5))
def test_order_and_what_comes_later_change_nothing(order: list[int], more: int) -> None:
    whole = course()
    later = [window(DAY_S + NOON + 600 + 60 * n, "fashion/2", 0.5) for n in range(more)]
    assert pair([whole[place] for place in order] + later) == pair(whole)


def test_what_the_release_did_before_this_rollout_is_no_evidence() -> None:
    earlier = [window(NOON + 60 * n, "fashion/2", 0.5) for n in range(5)]
    assert pair(earlier + course()) == pair(course())


def test_before_is_what_ran_last_and_at_the_same_hours_where_it_can() -> None:
    night = [window(DAY_S + 3600.0 * 3 + 60 * n, "fashion/1", 0.1) for n in range(10)]
    older = [window(DAY_S + 60 * n, "fashion/0", 0.1) for n in range(10)]
    assert pair(night + older + course()) == pair(course())
    found = pair([*night, *course()[5:]])
    assert found is not None and found.latency is not None and found.latency < -1, "else the newest of any hour"


def test_each_thing_is_compared_where_both_sides_measured_it() -> None:
    rows = course(memory=100)
    rows = [row if row.release == "fashion/1" else window(row.placed_s, "fashion/2", memory=150) for row in rows]
    found = pair(rows)
    assert found is not None
    assert found.memory == pytest.approx(math.log(1.5))
    assert (found.energy, found.confidence) == (None, None)


def test_a_shift_of_confidence_is_seen_and_chance_is_taken_off() -> None:
    same = pair(course(requests=200, confidence=0.9), NotWorse(min_requests=200, warm_up_s=0.0))
    rows = [
        row if row.release == "fashion/1" else window(row.placed_s, "fashion/2", requests=200, confidence=0.4)
        for row in course(requests=200, confidence=0.9)
    ]
    moved = pair(rows, NotWorse(min_requests=200, warm_up_s=0.0))
    assert same is not None and same.confidence is not None and same.confidence < 0.05
    assert moved is not None and moved.confidence is not None and moved.confidence > 1


def test_latencies_in_one_bucket_may_be_off_by_more_than_those_that_spread() -> None:
    def of(spread: float) -> float:
        rows = []
        for number in range(10):
            sketch = SketchBuilder()
            for step in range(20):
                sketch.add(0.010 * (1 + spread * step / 20))
            release = "fashion/1" if number < 5 else "fashion/2"
            rows.append(Seen(DAY_S + NOON + 60 * number, 60.0, release, 20, 0, sketch.build()))
        found = pair(rows)
        assert found is not None
        return found.rounding

    assert of(0.0) > 0.02
    assert of(0.4) < 0.001
