"""Has what a model answers moved away from what it answered at first? The population stability index, with its noise floor.

Confidence is compared in about ten bins that each held a tenth of the reference. Without any drift the index is not 0: it
scatters like chi-square with nine degrees of freedom times (1/n + 1/m), so that an alarm needs more than its 99th percentile,
21.7 * (1/n + 1/m), and never less than 0.1, which is where practice begins to call a shift one.
"""

import math
from dataclasses import dataclass

from edgefleet_protocol.sketch import Sketch

BINS = 10
NOISE = 21.7
LEAST_SHIFT = 0.1
ENOUGH = 1000
"""Answers on each side, below which nothing is said."""


@dataclass(frozen=True)
class Drift:
    """How far the answers moved."""

    psi: float | None
    """None while there are too few answers."""
    floor: float | None
    """What it must exceed to be an alarm."""
    n: int
    reference_n: int

    @property
    def noise(self) -> float:
        """What may be chance alone, by how much was counted."""
        return NOISE * (1 / self.n + 1 / self.reference_n) if self.n and self.reference_n else math.inf

    @property
    def alarm(self) -> bool:
        """Whether that is more than chance."""
        return self.psi is not None and self.floor is not None and self.psi > self.floor


def drift(reference: Sketch, now: Sketch) -> Drift:
    """Return how far `now` is from `reference`; both are histograms of confidence."""
    n, m = now.count, reference.count
    if n < ENOUGH or m < ENOUGH:
        return Drift(None, None, n, m)
    edges = bins(reference)
    before, after = shares(reference, edges), shares(now, edges)
    return Drift(psi(before, after, m, n), max(LEAST_SHIFT, NOISE * (1 / n + 1 / m)), n, m)


def bins(reference: Sketch) -> list[int]:
    """Return the last bucket of each bin: about tenths of `reference`, as far as whole buckets allow.

    A bucket that holds a tenth by itself is a bin by itself: what later falls beside it shows, even where nothing did before.
    """
    tenth = reference.count / BINS
    edges: list[int] = []
    seen: float = reference.zero
    for bucket, count in enumerate(reference.counts, reference.offset):
        if count >= tenth:
            edges += [bucket - 1, bucket]
            seen = 0.0
            continue
        seen += count
        if seen >= tenth:
            edges.append(bucket)
            seen = 0.0
    return sorted(set(edges))


def shares(sketch: Sketch, edges: list[int]) -> list[int]:
    """Return how many values fall into each bin: up to each edge, and above the last."""
    counts = [0] * (len(edges) + 1)
    counts[0] += sketch.zero
    place = 0
    for bucket, count in enumerate(sketch.counts, sketch.offset):
        while place < len(edges) and bucket > edges[place]:
            place += 1
        counts[place] += count
    return counts


def psi(before: list[int], after: list[int], m: int, n: int) -> float:
    """Return the index of counts in the same bins; half a value is added to each bin, so that an empty one is no infinity."""
    k = len(before)
    total = 0.0
    for b, a in zip(before, after, strict=True):
        p, q = (b + 0.5) / (m + 0.5 * k), (a + 0.5) / (n + 0.5 * k)
        total += (q - p) * math.log(q / p)
    return total
