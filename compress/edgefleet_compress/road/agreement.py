"""How alike two models answer the same inputs. Agreement, never accuracy: nothing here knows what is true.

An output whose last dimension is a choice (two values or more that sum to one, or that are the only dimension besides
samples, or very many) agrees where the largest is the same. Any other agrees by its relative error, taken slice by slice
and then averaged: a detector's scores (0 to 1) beside its boxes (0 to 320) vanish in any figure over the whole tensor.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..runtime import Array

MOST_SLICES = 128
MANY_CHOICES = 50


@dataclass(frozen=True)
class Agreement:
    """Of one output."""

    output: str
    how: str
    """`top-1` or `1 - relative error`."""
    value: float
    """0 to 1."""
    error: float
    """Mean over slices of the relative error, each at most 1; what the search goes by."""
    worst_slice: float

    @property
    def words(self) -> str:
        """`scores 0.981 (top-1)`."""
        return f"{self.output} {self.value:.3f} ({self.how})"


def agreements(original: Mapping[str, Array], variant: Mapping[str, Array]) -> tuple[Agreement, ...]:
    """Return the agreement of each output."""
    return tuple(_agreement(name, original[name], variant[name]) for name in original)


def lowest(found: tuple[Agreement, ...]) -> Agreement:
    """Return that of the output that agrees least."""
    return min(found, key=lambda entry: entry.value)


def _agreement(name: str, want: Array, got: Array) -> Agreement:
    if want.shape != got.shape:
        return Agreement(name, "1 - relative error", 0.0, 1.0, 1.0)
    if want.dtype.kind in "iub":
        same = float((want == got).mean()) if want.size else 1.0
        return Agreement(name, "same values", same, 1 - same, 1 - same)
    want, got = want.astype(np.float64), got.astype(np.float64)
    errors = _slices(want, got)
    error, worst = float(np.mean(errors)), float(np.max(errors))
    if _is_choice(want):
        same = float((want.argmax(-1) == got.argmax(-1)).mean())
        return Agreement(name, "top-1", same, error, worst)
    return Agreement(name, "1 - relative error", 1 - error, error, worst)


def _is_choice(values: Array) -> bool:
    last = values.shape[-1] if values.ndim > 1 else 1
    if last < 2:
        return False
    sums = values.sum(-1)
    probabilities = bool((values >= -1e-6).all() and np.abs(sums - 1).max() < 1e-3)
    return probabilities or (
        values.ndim == 3 and last >= MANY_CHOICES and values.shape[1] < last and bool((values >= 0).all())
    )


def _slices(want: Array, got: Array) -> Array:
    """Return the relative error of each slice along the axis that tells kinds of values apart, clipped to 1.

    Of three dimensions it is the shorter one behind the samples, of four or more the second or the last, whichever is
    shorter: channels come first or last, and places lie between. An error is relative to the slice's spread, or to a
    hundredth of its largest value, or to a tiny share of the output's where the slice is nearly constant.
    """
    axis = None
    if want.ndim > 2:
        axis = min((1, want.ndim - 1), key=lambda place: want.shape[place])
        axis = axis if 2 <= want.shape[axis] <= MOST_SLICES else None
    largest = float(np.abs(want).max()) if want.size else 0.0
    parts = [(want, got)] if axis is None else list(
        zip(np.moveaxis(want, axis, 0), np.moveaxis(got, axis, 0), strict=True)
    )  # fmt: skip
    errors = []
    for one, two in parts:
        spread = max(float(one.std()), 0.01 * float(np.abs(one).max()), 1e-4 * largest, 1e-12)
        missed = float(np.sqrt(np.mean((one - two) ** 2))) / spread
        errors.append(min(missed, 1.0) if np.isfinite(missed) else 1.0)
    return np.array(errors)
