"""Tests that may be looked at after every device, and still stop a good release no more often than is said. Pure.

Two are needed. Latency, memory, energy and the spread of confidence give one number for each device, the difference between
after and before; their spread from device to device is not known. `Interval` is a confidence sequence for their mean: with
probability 1 - alpha it holds the true mean at *every* look. Errors are counts of requests; `error_evidence` is an e-value.

Sources: Wang and Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance", Sequential
Analysis 2025 (the scale-invariant mixture that goes back to Lai, "On confidence sequences", Annals of Statistics 1976);
Robbins, "Statistical methods related to the law of the iterated logarithm", 1970, and Johari, Koomen, Pekelis and Walsh, "Always valid
inference", Operations Research 2022, for mixtures of likelihood ratios; McCullagh and Nelder, "Generalized linear models", 1989, 4.5, for the
factor by which counts that come in bursts say less than their number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

EFFECT = 4.0
"""Standard deviation of the effect that is thought likely, in standard deviations from device to device.

It moves the number of devices at which the test is sharpest, never its false alarms. Measured latencies of one model on boards of
one class differ by some percent, and what matters is ten percent and more."""


@dataclass(frozen=True)
class Interval:
    """What is known of a mean: `low` and `high` hold it at every look together, with the probability that was asked for."""

    count: int
    mean: float
    low: float
    high: float


def interval(values: Sequence[float], alpha: float) -> Interval:
    """Return the confidence sequence of the mean of `values` after so many of them.

    With n values, t their t-statistic against a mean m, and effects of deviation g, the mixture's likelihood ratio is
    (1 + n g²)^-½ ((1 + t²/ν) / (1 + t²/(ν (1 + n g²))))^(n/2), ν = n - 1: a test martingale, so it passes 1/alpha with
    probability at most alpha, ever. Those m for which it has not are the interval. With few values it is without bounds.
    """
    count = len(values)
    if count == 0:
        return Interval(0, math.nan, -math.inf, math.inf)
    mean = math.fsum(values) / count
    if count < 2:
        return Interval(count, mean, -math.inf, math.inf)
    free = count - 1
    variance = math.fsum((value - mean) ** 2 for value in values) / free
    ratio = 1.0 + count * EFFECT**2
    power = (ratio / alpha**2) ** (1.0 / count)
    if power >= ratio:
        return Interval(count, mean, -math.inf, math.inf)
    reach = math.sqrt(free * (power - 1.0) / (1.0 - power / ratio) * variance / count)
    return Interval(count, mean, mean - reach, mean + reach)


def needed(spread: float, distance: float, alpha: float, most: int = 10_000) -> int | None:
    """Return how many values of this spread it takes until the interval reaches no farther than `distance`; None: more than `most`."""
    if distance <= 0:
        return None
    low, high = 2, most
    if _reach(most, spread, alpha) > distance:
        return None
    while low < high:  # the reach falls with every value
        middle = (low + high) // 2
        if _reach(middle, spread, alpha) <= distance:
            high = middle
        else:
            low = middle + 1
    return low


def _reach(count: int, spread: float, alpha: float) -> float:
    ratio = 1.0 + count * EFFECT**2
    power = (ratio / alpha**2) ** (1.0 / count)
    if power >= ratio:
        return math.inf
    return math.sqrt((count - 1) * (power - 1.0) / (1.0 - power / ratio) * spread**2 / count)


@dataclass(frozen=True)
class Counts:
    """Errors of requests of one device, on one side of its switch."""

    errors: int
    requests: int


def burstiness(rows: Sequence[Counts]) -> float:
    """Return by which factor errors vary more from device to device than independent requests would; at least 1.

    Pearson's statistic over its degrees of freedom: a camera that was unplugged for an hour is one mishap and not a thousand. It is
    asked for each side by itself, since the side with more requests has the larger bursts. With fewer than three devices nothing
    is known, and 1 is returned.
    """
    rate = _pooled(rows)
    cells = [row for row in rows if row.requests]
    if len(cells) < 3 or not 0 < rate < 1:
        return 1.0
    total = sum((row.errors - row.requests * rate) ** 2 / (row.requests * rate * (1 - rate)) for row in cells)
    return max(1.0, total / (len(cells) - 1))


def error_evidence(pairs: Sequence[tuple[Counts, Counts]], margin: float, alpha: float) -> float:
    """Return the e-value against "not more than `margin` more errors than before".

    A fifth of alpha is spent once on an upper bound of the rate before; an e-value of 1 / (0.8 alpha) or more then stops with at
    most alpha of false alarms. After is judged by a mixture over all higher rates, Beta(1, 1) beyond the bound, of the
    likelihood ratio against the bound: for every rate at or below the bound its expectation is at most 1 at every look.
    """
    (before, earlier), (after, factor) = (_side([pair[place] for pair in pairs]) for place in (0, 1))
    bound = min(upper_rate(before.errors / earlier, before.requests / earlier, alpha / 5) + margin, 1.0)
    if bound >= 1.0 or after.requests == 0:
        return 0.0
    errors, rest = after.errors / factor, (after.requests - after.errors) / factor
    # log of ∫ over p in (bound, 1) of p^errors (1-p)^rest dp / (1 - bound), over bound^errors (1-bound)^rest
    log_tail = _log_upper_beta(errors + 1.0, rest + 1.0, bound)
    log_e = log_tail - math.log1p(-bound) - errors * math.log(bound) - rest * math.log1p(-bound)
    return math.exp(min(log_e, 700.0))


def fewer_evidence(pairs: Sequence[tuple[Counts, Counts]], margin: float, alpha: float) -> float:
    """Return the e-value against "at least `margin` more errors than before": 1 / (0.8 alpha) or more says that it is not worse."""
    (before, earlier), (after, factor) = (_side([pair[place] for pair in pairs]) for place in (0, 1))
    requests = before.requests / earlier
    # Not fewer than seen with probability alpha / 5: the mirror of the bound above.
    least = 1.0 - upper_rate(requests - before.errors / earlier, requests, alpha / 5) if before.errors else 0.0
    bound = least + margin
    if not 0 < bound < 1 or after.requests == 0:
        return 0.0
    errors, rest = after.errors / factor, (after.requests - after.errors) / factor
    log_lower = _log_upper_beta(rest + 1.0, errors + 1.0, 1.0 - bound)
    log_e = log_lower - math.log(bound) - errors * math.log(bound) - rest * math.log1p(-bound)
    return math.exp(min(log_e, 700.0))


def upper_rate(errors: float, requests: float, alpha: float) -> float:
    """Return the rate above which so few errors would be seen with probability `alpha`: Clopper and Pearson's upper bound."""
    if requests <= 0 or errors >= requests:
        return 1.0
    low, high = errors / requests, 1.0
    while high - low > 1e-7 * high:
        middle = (low + high) / 2
        # P(Beta(errors + 1, requests - errors) > middle) is the probability of at most `errors` at this rate.
        if math.exp(_log_upper_share(errors + 1.0, requests - errors, middle)) > alpha:
            low = middle
        else:
            high = middle
    return high


def _pooled(rows: Sequence[Counts]) -> float:
    errors, requests = _summed(rows)
    return errors / requests if requests else 0.0


def _side(rows: Sequence[Counts]) -> tuple[Counts, float]:
    """Return all errors of all requests on one side of the switches, and the burstiness of that side."""
    return Counts(*_summed(rows)), burstiness(rows)


def _summed(rows: Sequence[Counts]) -> tuple[int, int]:
    return sum(row.errors for row in rows), sum(row.requests for row in rows)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_upper_beta(a: float, b: float, x: float) -> float:
    """Return the log of the integral of p^(a-1) (1-p)^(b-1) from x to 1."""
    return _log_beta(a, b) + _log_upper_share(a, b, x)


def _log_upper_share(a: float, b: float, x: float) -> float:
    """Return the log of the probability that a Beta(a, b) is above x, by its continued fraction: Abramowitz and Stegun, 26.5.8."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return -math.inf
    front = a * math.log(x) + b * math.log1p(-x) - _log_beta(a, b)
    if x < (a + 1) / (a + b + 2):
        lower = math.exp(front) * _fraction(a, b, x) / a
        return math.log1p(-lower) if lower < 1 else -math.inf
    return front + math.log(_fraction(b, a, 1 - x) / b)


def _fraction(a: float, b: float, x: float) -> float:
    """Lentz's way to sum the continued fraction of the incomplete beta function."""
    tiny = 1e-300
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0) or tiny)
    result = d
    for m in range(1, 2000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / (1.0 + step * d or tiny)
            c = 1.0 + step / c or tiny
            result *= c * d
        if abs(c * d - 1.0) < 1e-12:
            break
    return result
