"""The insurance gate: is a variant as good as its original, sample by sample? Pure: answers in, a verdict out.

Both answered the same samples, so only those count on which they differ. For right-or-wrong answers (classification
with top-1) the loss and its bound come from the two counts of McNemar's table; for any other metric from a paired
bootstrap of the metric itself. A variant passes when the bound, not the loss that happened to be seen, is within what is
allowed. Similarity of outputs is not looked at: it hides dead classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist

import numpy as np

from ..runtime import Array
from .limits import Limits

RESAMPLES = 400
"""Of the bootstrap: the metric is computed twice for each."""
MIN_CLASS = 10
"""A class with fewer samples is not judged alone."""


@dataclass(frozen=True)
class Verdict:
    """What the comparison found."""

    samples: int
    lost_points: float
    """Negative where the variant is better."""
    bound_points: float
    """At the stated confidence, it loses no more than this."""
    method: str
    flips_percent: float | None = None
    worse: int | None = None
    """Samples that only the original has right; None for other metrics."""
    better: int | None = None
    worst_class: str = ""
    worst_class_points: float = 0.0
    refusals: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """One line for reports."""
        lost = (
            f"loses {self.lost_points:.2f} points" if self.lost_points >= 0 else f"gains {-self.lost_points:.2f} points"
        )
        more = f", {self.flips_percent:.2f} % of answers changed" if self.flips_percent is not None else ""
        worst = f", worst class {self.worst_class} ({-self.worst_class_points:+.1f})" if self.worst_class else ""
        return f"{lost}, at most {max(self.bound_points, 0):.2f} ({self.method}){more}{worst}"


def compare_answers(original: Array, variant: Array, targets: Array, labels: Sequence[str], limits: Limits) -> Verdict:
    """Return the verdict on two sets of outputs (samples, classes) of a classification, by top-1."""
    first, second = original.argmax(1), variant.argmax(1)
    was, is_ = first == targets, second == targets
    worse, better, count = int((was & ~is_).sum()), int((~was & is_).sum()), len(targets)
    lost, bound = 100 * (worse - better) / count, 100 * upper_bound(worse, better, count, limits.confidence)
    flips = 100 * float((first != second).mean())
    refusals = []
    if bound > limits.lose_points:
        refusals.append(_not_within(lost, bound, limits))
    worst, worst_points = "", 0.0
    for label in np.unique(targets):
        rows = targets == label
        if rows.sum() < MIN_CLASS:
            continue
        down, up = int((was & ~is_ & rows).sum()), int((~was & is_ & rows).sum())
        points = 100 * (down - up) / int(rows.sum())
        name = labels[int(label)] if int(label) < len(labels) else str(label)
        if points > worst_points:
            worst, worst_points = name, points
        if points > limits.lose_class_points and sign_test(down, up) < 1 - limits.confidence:
            refusals.append(f"loses {points:.1f} points of class {name}; {limits.lose_class_points:g} are allowed")
    if flips > limits.flips_percent:
        refusals.append(f"changes {flips:.1f} % of the answers; {limits.flips_percent:g} % are allowed")
    method = f"McNemar, {limits.confidence:.0%} confidence"
    return Verdict(count, lost, bound, method, flips, worse, better, worst, worst_points, tuple(refusals))


def compare_metric(
    score: Callable[[Array], tuple[float, float]], count: int, limits: Limits, seed: int = 0, resamples: int = RESAMPLES
) -> Verdict:
    """Return the verdict by paired bootstrap. score: given row numbers, the metric of original and variant on them."""
    draw = np.random.default_rng(seed)
    original, variant = score(np.arange(count))
    losses = []
    for _ in range(resamples):
        one, two = score(draw.integers(0, count, count))
        losses.append(one - two)
    lost, bound = 100 * (original - variant), 100 * float(np.quantile(losses, limits.confidence))
    bound = max(bound, lost)
    refusals = (_not_within(lost, bound, limits),) if bound > limits.lose_points else ()
    method = f"paired bootstrap, {limits.confidence:.0%} confidence"
    return Verdict(count, lost, bound, method, refusals=refusals)


def upper_bound(worse: int, better: int, count: int, confidence: float) -> float:
    """Return what share at most is lost, one-sided.

    Source: Agresti and Min, 2005, for the difference of paired proportions: half a sample added to each of the four
    cells, then the interval of Wald. With no sample that differs it is still above 0, as it should be.
    """
    total = count + 2
    down, up = worse + 0.5, better + 0.5
    difference = (down - up) / total
    error = sqrt((down + up) - (down - up) ** 2 / total) / total
    return difference + NormalDist().inv_cdf(confidence) * error


def sign_test(worse: int, better: int) -> float:
    """Return how probable `worse` or more of the samples that differ are when both directions are equally likely."""
    count = worse + better
    if count > 1000:
        return 1 - NormalDist().cdf((worse - 0.5 - count / 2) / sqrt(count / 4))
    return float(sum(comb(count, k) for k in range(worse, count + 1)) / 2**count)


def _not_within(lost: float, bound: float, limits: Limits) -> str:
    if lost > limits.lose_points:
        return f"loses {lost:.1f} points; {limits.lose_points:g} are allowed"
    return (
        f"loses {lost:.1f} points on these samples and perhaps {bound:.1f}; that it loses no more than the "
        f"{limits.lose_points:g} allowed is not shown at {limits.confidence:.0%}: test on more samples, or allow more in [gates]"
    )
