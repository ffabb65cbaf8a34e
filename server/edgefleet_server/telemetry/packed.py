"""A sketch as few bytes: a width, the first bucket, values at or below 0, then one whole number a bucket.

About 100 bytes for one window of a device. Reading and adding run in C, as far as Python lets them.
"""

import math
import struct
from bisect import bisect_left
from itertools import accumulate
from operator import add

from edgefleet_protocol.errors import BadDocument
from edgefleet_protocol.sketch import LOWEST, MAX_BUCKETS, MAX_COUNT, PER_DOUBLING, Sketch

HEAD = struct.Struct("<BhQ")
CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
EMPTY = HEAD.pack(1, 0, 0)


def pack(sketch: Sketch) -> bytes:
    """Return the bytes of `sketch`."""
    return pack_counts(sketch.offset, sketch.counts, sketch.zero)


def pack_counts(offset: int, counts: list[int] | tuple[int, ...], zero: int) -> bytes:
    """Return the bytes of counts from bucket `offset` on."""
    try:
        return HEAD.pack(1, offset, zero) + bytes(counts)  # of one window nearly always
    except ValueError:
        highest = max(counts)
    width = next(size for size in CODES if highest < 256**size)
    return HEAD.pack(width, offset, zero) + struct.pack(f"<{len(counts)}{CODES[width]}", *counts)


def unpack(data: bytes) -> Sketch:
    """Return the sketch of bytes from `pack`; raise BadDocument for others."""
    offset, counts, zero = unpack_counts(data)
    try:
        return Sketch(offset=offset, counts=counts, zero=zero)
    except ValueError as error:
        raise BadDocument(f"a stored histogram is damaged: {error}") from error


def unpack_counts(data: bytes) -> tuple[int, tuple[int, ...], int]:
    """Return the first bucket, the counts from there on, and how many values were at or below 0."""
    try:
        width, offset, zero = HEAD.unpack_from(data)
        rest = len(data) - HEAD.size
        if rest % width:
            raise ValueError(f"{rest} bytes, {width} to a number")
        counts = struct.unpack_from(f"<{rest // width}{CODES[width]}", data, HEAD.size)
    except (struct.error, KeyError, ValueError, ZeroDivisionError) as error:
        raise BadDocument(f"a stored histogram is damaged: {error!r}") from error
    return offset, counts, zero


class Pile:
    """Sketches on one another. Adding one of 60 buckets takes some microseconds."""

    __slots__ = ("counts", "offset", "zero")

    def __init__(self) -> None:
        self.offset, self.zero = 0, 0
        self.counts: list[int] = []

    def add(self, sketch: Sketch) -> None:
        """Count what `sketch` counts."""
        self.add_counts(sketch.offset, sketch.counts, sketch.zero)

    def add_packed(self, data: bytes | None) -> None:
        """Count what the bytes of a sketch count; nothing for None."""
        if data is not None:
            self.add_counts(*unpack_counts(data))

    def add_counts(self, offset: int, counts: tuple[int, ...] | list[int], zero: int) -> None:
        """Count so many values in each bucket from `offset` on, and `zero` at or below 0."""
        self.zero = min(self.zero + zero, MAX_COUNT)
        if not counts:
            return
        if not self.counts:
            self.offset, self.counts = offset, list(counts)
            return
        mine = self.counts
        if offset < self.offset:
            mine[:0] = [0] * (self.offset - offset)
            self.offset = offset
        first = offset - self.offset
        last = first + len(counts)
        if last > len(mine):
            mine.extend([0] * (last - len(mine)))
        mine[first:last] = map(add, mine[first:last], counts)

    def __bool__(self) -> bool:
        return bool(self.counts or self.zero)

    @property
    def count(self) -> int:
        """How many values were counted."""
        return self.zero + sum(self.counts)

    def packed(self) -> bytes:
        """Return it as bytes."""
        counts = self.counts
        if max(counts, default=0) > MAX_COUNT:
            counts = [min(count, MAX_COUNT) for count in counts]
        return pack_counts(self.offset, counts, self.zero)

    def sketch(self) -> Sketch:
        """Return it as a sketch."""
        if self.offset < LOWEST or len(self.counts) > MAX_BUCKETS:
            raise BadDocument(f"a histogram of {len(self.counts)} buckets from {self.offset} on")
        counts = tuple(min(count, MAX_COUNT) for count in self.counts)
        return Sketch(offset=self.offset, counts=counts, zero=self.zero)

    def quantiles(self, *wanted: float) -> tuple[float | None, ...]:
        """Return the values at these shares (0 to 1), None for each when nothing was counted; as `Sketch.quantile` gives them.

        With one pass over the buckets for all of them: a chart has hundreds of points with three each.
        """
        seen = list(accumulate(self.counts, initial=self.zero))
        total = seen[-1]
        if total == 0:
            return (None,) * len(wanted)
        return tuple(self._at(seen, max(1, math.ceil(q * total))) for q in wanted)

    def _at(self, seen: list[int], rank: int) -> float:
        if rank <= self.zero:
            return 0.0
        return float(2 ** ((self.offset + bisect_left(seen, rank) - 0.5) / PER_DOUBLING))
