"""The histogram: merging is adding, in any order, and a quantile is off by at most 2.2 %."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.errors import BadDocument
from edgefleet_protocol.sketch import (
    HIGHEST,
    LOWEST,
    MAX_BUCKETS,
    MAX_COUNT,
    Sketch,
    SketchBuilder,
    bucket_of,
    from_buckets,
    merge,
)

VALUES = st.floats(-1, 1e6, allow_nan=False)
POSITIVE = st.floats(2.0**-127, 2.0**127)


def sketch_of(values: list[float]) -> Sketch:
    builder = SketchBuilder()
    for value in values:
        builder.add(value)
    return builder.build()


SKETCHES = st.one_of(
    st.lists(VALUES, max_size=30).map(sketch_of),
    st.builds(
        from_buckets,
        st.dictionaries(st.integers(LOWEST, HIGHEST), st.integers(1, MAX_COUNT), max_size=8),
        st.integers(0, MAX_COUNT),
    ),
)


@given(st.lists(VALUES), st.lists(VALUES))
def test_merging_is_adding(some, others):
    assert merge([sketch_of(some), sketch_of(others)]) == sketch_of(some + others)


@given(SKETCHES, SKETCHES, SKETCHES)
def test_order_and_grouping_do_not_matter(a, b, c):
    assert merge([a, b]) == merge([b, a])
    assert merge([merge([a, b]), c]) == merge([a, merge([b, c])]) == merge([a, b, c])


@given(SKETCHES)
def test_the_empty_one_changes_nothing(sketch):
    assert merge([sketch, Sketch()]) == merge([sketch])
    assert merge([sketch]).count == sketch.count
    assert merge([]) == Sketch()


@given(SKETCHES, SKETCHES)
def test_what_was_merged_can_be_written_and_read(a, b):
    both = merge([a, b])
    assert msgspec.json.decode(msgspec.json.encode(both), type=Sketch) == both


@given(st.lists(POSITIVE, min_size=1), st.floats(0, 1))
def test_a_quantile_is_off_by_at_most_two_percent(values, q):
    true = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    found = sketch_of(values).quantile(q)
    assert found is not None
    assert abs(found - true) / true < 0.022


@given(st.lists(VALUES, min_size=1))
def test_quantiles_rise(values):
    sketch = sketch_of(values)
    found = [sketch.quantile(q / 20) or 0.0 for q in range(21)]
    assert found == sorted(found)


def test_nothing_has_no_quantile():
    assert Sketch().quantile(0.5) is None
    assert Sketch().count == 0


def test_zeros_count_below_all_others():
    sketch = sketch_of([0.0, -3.0, 0.0, 8.0])
    assert sketch.zero == 3
    assert sketch.quantile(0.75) == 0.0
    assert sketch.quantile(1.0) == pytest.approx(8.0, rel=0.022)


@pytest.mark.parametrize("q", (-0.01, 1.01, math.nan, math.inf))
def test_a_quantile_outside_its_range_is_refused(q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        sketch_of([1.0]).quantile(q)


@pytest.mark.parametrize("value", (math.nan, math.inf))
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="cannot hold"):
        SketchBuilder().add(value)


@pytest.mark.parametrize("power", (-127, -20, -1, 0, 1, 10, 127))
def test_a_power_of_two_is_the_upper_end_of_its_bucket(power):
    assert bucket_of(2.0**power) == power * 16 - 1
    assert bucket_of(2.0**power * 1.001) == power * 16


@pytest.mark.parametrize("value", (5e-324, 1e-300, 1e-39, 1e39, 1.7e308))
def test_what_lies_beyond_float32_counts_at_the_end_of_its_side(value):
    assert bucket_of(value) == (LOWEST if value < 1 else HIGHEST)


def test_the_farthest_apart_can_be_kept_together():
    sketch = sketch_of([5e-324, 1.7e308])
    assert len(sketch.counts) == MAX_BUCKETS
    assert sketch.count == 2
    assert msgspec.json.decode(msgspec.json.encode(sketch), type=Sketch) == sketch


@pytest.mark.parametrize(
    "data",
    (b'{"offset":-2049,"counts":[1]}', b'{"offset":2048,"counts":[1]}', b'{"offset":2047,"counts":[1,1]}',
     b'{"counts":[-1]}', b'{"counts":[1.5]}', b'{"zero":-1}', b'{"counts":[9007199254740993]}',
     b'{"offset":-2048,"counts":[' + b"0," * MAX_BUCKETS + b"0]}"),
)  # fmt: skip
def test_a_sketch_that_could_not_be_merged_is_refused(data):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=Sketch)


def test_buckets_that_span_too_far_are_refused():
    with pytest.raises(BadDocument, match="4097 buckets"):
        from_buckets({0: 1, MAX_BUCKETS: 1})
