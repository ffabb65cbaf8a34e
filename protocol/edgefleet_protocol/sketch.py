"""A mergeable histogram with base-2 exponential buckets, 16 to a doubling.

The bucket boundaries are those of OpenTelemetry's exponential histogram at scale 4 and of Prometheus' native histograms
at schema 4: bucket `i` holds values in (2**(i/16), 2**((i+1)/16)]. A quantile is off by at most 2.2 % of its value.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated

from msgspec import Meta

from .codec import Record
from .errors import BadDocument

SCALE = 4
PER_DOUBLING: int = 2**SCALE
MAX_BUCKETS = 4096
LOWEST, HIGHEST = -MAX_BUCKETS // 2, MAX_BUCKETS // 2 - 1
"""From 2**-128 to 2**128, which is what float32 holds: more than nanoseconds to centuries. What lies outside counts in the
last bucket of its side, so that any two sketches can be merged."""

MAX_COUNT = 2**53
Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]


class Sketch(Record, frozen=True, kw_only=True):
    """Counts by bucket, from bucket `offset` on. `zero` counts values at or below 0."""

    offset: Annotated[int, Meta(ge=LOWEST, le=HIGHEST)] = 0
    counts: Annotated[tuple[Count, ...], Meta(max_length=MAX_BUCKETS)] = ()
    zero: Count = 0

    def __post_init__(self) -> None:
        if self.offset + len(self.counts) - 1 > HIGHEST:
            raise ValueError(f"buckets from {self.offset} on, {len(self.counts)} of them, and the last is {HIGHEST}")

    @property
    def count(self) -> int:
        """How many values went in."""
        return self.zero + sum(self.counts)

    def quantile(self, q: float) -> float | None:
        """Return the value below which a share `q` (0 to 1) of the values lies, or None when it is empty.

        The middle of the bucket, in the sense that its relative error is the same to both ends.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile lies between 0 and 1, not at {q}")
        total = self.count
        if total == 0:
            return None
        rank = max(1, math.ceil(q * total))
        if rank <= self.zero:
            return 0.0
        seen = self.zero
        for index, count in enumerate(self.counts):
            seen += count
            if seen >= rank:
                return float(2 ** ((self.offset + index + 0.5) / PER_DOUBLING))
        raise AssertionError("the rank lies within the count")


class SketchBuilder:
    """Takes values one at a time. About 0.3 µs each on x86; a device does it for every request."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._zero = 0

    def add(self, value: float) -> None:
        """Count `value`. Raises ValueError for one that is not finite."""
        if value <= 0:
            self._zero += 1
            return
        index = bucket_of(value)
        self._buckets[index] = self._buckets.get(index, 0) + 1

    def build(self) -> Sketch:
        """Return what was counted so far."""
        return from_buckets(self._buckets, self._zero)


def bucket_of(value: float) -> int:
    """Return the bucket of a positive, finite `value`, from LOWEST to HIGHEST; raise ValueError for one that is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"a histogram cannot hold {value}")
    return min(max(math.ceil(math.log2(value) * PER_DOUBLING) - 1, LOWEST), HIGHEST)


def from_buckets(buckets: Mapping[int, int], zero: int = 0) -> Sketch:
    """Return the sketch of counts by bucket number; raise BadDocument when they span too many buckets."""
    if not buckets:
        return Sketch(zero=zero)
    low, high = min(buckets), max(buckets)
    if high - low >= MAX_BUCKETS:
        raise BadDocument(f"a histogram spans {high - low + 1} buckets and the limit is {MAX_BUCKETS}")
    return Sketch(offset=low, counts=tuple(buckets.get(index, 0) for index in range(low, high + 1)), zero=zero)


def merge(sketches: Iterable[Sketch]) -> Sketch:
    """Return the sketch of all values that went into `sketches`, in any order and grouping."""
    buckets: dict[int, int] = {}
    zero = 0
    for sketch in sketches:
        zero = min(zero + sketch.zero, MAX_COUNT)
        for index, count in enumerate(sketch.counts, sketch.offset):
            if count:
                # At the end of the scale it stays: what was merged can always be written and read again.
                buckets[index] = min(buckets.get(index, 0) + count, MAX_COUNT)
    return from_buckets(buckets, zero)
