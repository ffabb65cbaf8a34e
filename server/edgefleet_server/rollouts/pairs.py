"""One device before and after its switch: what its windows of telemetry say of the two models. Pure.

The moment of the switch is read off the windows themselves, so that no clock of a device has to be believed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgefleet_protocol.rollout import NotWorse
from edgefleet_protocol.sketch import PER_DOUBLING, Sketch, merge

from .spreads import apart, shift

BEFORE_S = 7 * 86400.0
"""So far back is looked for what ran before: a week has each hour of the day, and each day."""
MORE_BEFORE = 10
"""So many times `min_requests` are taken from before: it costs no waiting, and steadies the difference."""
HOUR_S, DAY_S = 3600.0, 86400.0
STEP = math.log(2) / PER_DOUBLING
"""Width of a bucket of latencies, as a logarithm."""


@dataclass(frozen=True)
class Seen:
    """One window of one model on one device. None is what was not measured."""

    placed_s: float
    seconds: float
    release: str
    requests: int
    errors: int
    latency: Sketch
    memory_bytes: int | None = None
    confidence: Sketch | None = None
    energy_j: float | None = None
    """Of the whole device, for one request."""


@dataclass(frozen=True)
class Pair:
    """One device, compared once: the same numbers are never judged twice, and later ones change nothing."""

    device: str
    hardware_class: str
    at_s: float
    """End of the last window that went in."""
    before: str
    """The release that ran before."""
    requests_before: int
    requests_after: int
    errors_before: int
    errors_after: int
    latency: float | None = None
    """Logarithm of after over before, of the geometric means."""
    rounding: float = 0.0
    """By how much `latency` may be off because latencies are told in buckets."""
    memory: float | None = None
    energy: float | None = None
    confidence: float | None = None
    """Population stability index, less what chance alone makes of it."""
    apart: float | None = None
    """Share of answers that cannot be as sure as before; see `spreads`."""


def pair_of(
    device: str,
    hardware_class: str,
    windows: Sequence[Seen],
    release: str,
    began_s: float,
    rules: NotWorse,
    later_s: float = 0.0,
) -> Pair | None:
    """Return the comparison of one device, or None while one of the two sides has too few requests.

    windows: from BEFORE_S before the rollout began at `began_s`, in any order. After are the first windows of `release`, warm-up left out, until
    `min_requests`; before are those of the release that ran last, from the same hours of the day where there are enough.
    later_s: after begins so long after the switch, where that is longer than the warm-up.
    """
    ordered = sorted((row for row in windows if row.requests), key=lambda row: row.placed_s)
    first = next((row.placed_s for row in ordered if row.release == release and row.placed_s >= began_s), None)
    if first is None:
        return None
    after = _until(
        [row for row in ordered if row.release == release and row.placed_s >= first + max(rules.warm_up_s, later_s)],
        rules,
    )
    earlier = [row for row in ordered if row.placed_s < first and row.release != release]
    if not after or not earlier:
        return None
    ran = earlier[-1].release
    before = _matched([row for row in earlier if row.release == ran], after, rules)
    if not before:
        return None
    latency, rounding = _latency(before, after)
    sure = [[row.confidence for row in side if row.confidence is not None] for side in (before, after)]
    return Pair(
        device=device,
        hardware_class=hardware_class,
        at_s=after[-1].placed_s + after[-1].seconds,
        before=ran,
        requests_before=sum(row.requests for row in before),
        requests_after=sum(row.requests for row in after),
        errors_before=sum(row.errors for row in before),
        errors_after=sum(row.errors for row in after),
        latency=latency,
        rounding=rounding,
        memory=_ratio([row.memory_bytes for row in before], [row.memory_bytes for row in after]),
        energy=_ratio([row.energy_j for row in before], [row.energy_j for row in after]),
        confidence=shift(*sure),
        apart=apart(*sure),
    )


def has_enough(served: Sequence[tuple[float, int]], rules: NotWorse, later_s: float = 0.0) -> bool:
    """Return whether a device served enough under the new release to be compared: what `pair_of` asks of its side after.

    served: when, and how many requests, since the rollout began, oldest first.
    """
    if not served:
        return False
    start_s = served[0][0] + max(rules.warm_up_s, later_s)
    return sum(requests for placed_s, requests in served if placed_s >= start_s) >= rules.min_requests


def drift_of(windows: Sequence[Seen], release: str, began_s: float, rules: NotWorse) -> float | None:
    """Return by how much latency changed on a device that runs the model before all the time, as `Pair.latency`; None: not known.

    The newest windows since `began_s`, against those before it, chosen as for a pair.
    """
    ordered = sorted((row for row in windows if row.requests and row.release != release), key=lambda row: row.placed_s)
    if not ordered:
        return None
    mine = [row for row in ordered if row.release == ordered[-1].release]
    after = _until([row for row in reversed(mine) if row.placed_s >= began_s], rules)
    before = _matched([row for row in mine if row.placed_s < began_s], after, rules) if after else []
    return _latency(before, after)[0] if before else None


def _until(rows: Sequence[Seen], rules: NotWorse) -> list[Seen]:
    """Return the first of `rows` that hold `min_requests` together, or none."""
    found, requests = [], 0
    for row in rows:
        found.append(row)
        requests += row.requests
        if requests >= rules.min_requests:
            return found
    return []


def _matched(rows: Sequence[Seen], after: Sequence[Seen], rules: NotWorse) -> list[Seen]:
    """Return the newest of `rows` from the hours of the day of `after`, or, where those are too few, the newest of all."""
    hours = {int(row.placed_s % DAY_S // HOUR_S) for row in after}
    near = {(hour + by) % 24 for hour in hours for by in (-1, 0, 1)}
    for chosen in ([row for row in rows if int(row.placed_s % DAY_S // HOUR_S) in near], rows):
        found, requests = [], 0
        for row in reversed(chosen):
            if requests >= MORE_BEFORE * rules.min_requests:
                break
            found.append(row)
            requests += row.requests
        if requests >= rules.min_requests:
            return found
    return []


def _latency(before: Sequence[Seen], after: Sequence[Seen]) -> tuple[float | None, float]:
    sides = [_log_moments(merge(row.latency for row in rows)) for rows in (before, after)]
    if sides[0] is None or sides[1] is None:
        return None, 0.0
    return sides[1][0] - sides[0][0], _rounding(sides[0][1]) + _rounding(sides[1][1])


def _log_moments(sketch: Sketch) -> tuple[float, float] | None:
    """Return mean and variance of the logarithms of what went in, or None for none."""
    total = sum(sketch.counts)
    if total == 0:
        return None
    places = [(sketch.offset + index + 0.5) * STEP for index in range(len(sketch.counts))]
    mean = math.fsum(place * count for place, count in zip(places, sketch.counts, strict=True)) / total
    variance = (
        math.fsum((place - mean) ** 2 * count for place, count in zip(places, sketch.counts, strict=True)) / total
    )
    return mean, variance


def _rounding(variance: float) -> float:
    """Return by how much the mean of normal values can be off when they are counted in buckets: the first term of Sheppard's
    correction. It is a third of a bucket when all fall into one, and nothing once they spread over two."""
    true = max(variance - STEP**2 / 12, 0.0)
    return STEP / math.pi * math.exp(-2 * math.pi**2 * true / STEP**2)


def _ratio(before: Sequence[float | None], after: Sequence[float | None]) -> float | None:
    """Return the logarithm of the middle value of the windows after over that of those before; None where a side measured none."""
    sides = [[value for value in rows if value is not None and value > 0] for rows in (before, after)]
    if not sides[0] or not sides[1]:
        return None
    return math.log(_middle(sides[1])) - math.log(_middle(sides[0]))


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
