"""How far the confidence of a model's answers moved on one device: two measures, each less what chance alone makes of it. Pure.

`shift` is a population stability index, sensitive to what is rare; `apart` is the total variation distance, which has a meaning in requests:
by the coupling of two distributions (Levin and Peres, "Markov chains and mixing times", 2017, proposition 4.7) it is the least share of
answers that cannot be as sure as they were, however the requests are paired. So 1 - `apart` is the most that two models can agree on.
"""

import math
from collections.abc import Sequence

from edgefleet_protocol.sketch import PER_DOUBLING, Sketch, merge

LEAST_SHARE = 1e-4
"""Of an empty bucket of confidences, so that one answer there is no infinite shift."""


def shift(before: Sequence[Sketch], after: Sequence[Sketch]) -> float | None:
    """Return the population stability index between the confidences, less its expectation when nothing shifted; None where a side has none.

    Yurdakul, "Statistical properties of population stability index", 2018: under no change it is about chi-square times
    (1/n + 1/m), so its mean is (buckets - 1) (1/n + 1/m). Buckets are eighths of a doubling, as many as hold anything.
    """
    counts, totals = _counted(before, after)
    if not all(totals):
        return None
    buckets = counts[0].keys() | counts[1].keys()
    index = 0.0
    for bucket in buckets:
        shares = [max(side.get(bucket, 0) / total, LEAST_SHARE) for side, total in zip(counts, totals, strict=True)]
        index += (shares[1] - shares[0]) * math.log(shares[1] / shares[0])
    return index - (len(buckets) - 1) * (1 / totals[0] + 1 / totals[1])


def apart(before: Sequence[Sketch], after: Sequence[Sketch]) -> float | None:
    """Return the total variation distance between the confidences, less the most that chance adds to it on average; None as above.

    A difference of shares that is d is seen as |d + e| with an error e of variance p (1 - p) (1/n + 1/m), so it is seen too large by E|e| at most,
    which is sqrt(2 / pi) of its deviation: so the mean of this is never above the true distance.
    """
    counts, totals = _counted(before, after)
    if not all(totals):
        return None
    whole, noise = 1 / totals[0] + 1 / totals[1], 0.0
    distance = 0.0
    for bucket in counts[0].keys() | counts[1].keys():
        seen = [side.get(bucket, 0) for side in counts]
        pooled = sum(seen) / sum(totals)
        distance += abs(seen[1] / totals[1] - seen[0] / totals[0]) / 2
        noise += math.sqrt(2 / math.pi * pooled * (1 - pooled) * whole) / 2
    return distance - noise


def _counted(before: Sequence[Sketch], after: Sequence[Sketch]) -> tuple[tuple[dict[int, int], ...], tuple[int, ...]]:
    counts = tuple(_coarse(merge(side)) for side in (before, after))
    return counts, tuple(sum(side.values()) for side in counts)


def _coarse(sketch: Sketch) -> dict[int, int]:
    """Counts by an eighth of a doubling below 1, where confidences lie; what is smaller than an eighth is one bucket."""
    found: dict[int, int] = {}
    for index, count in enumerate(sketch.counts, sketch.offset):
        if count:
            bucket = max(index // (PER_DOUBLING // 8), -24)
            found[bucket] = found.get(bucket, 0) + count
    if sketch.zero:
        found[-25] = sketch.zero
    return found
