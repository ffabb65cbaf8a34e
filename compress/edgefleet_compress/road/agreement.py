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


def _axes(shape: tuple[int, ...]) -> list[int]:
    """Return which axes tell kinds of values apart: channels come first or last, and places lie beside each other."""
    if len(shape) < 3:
        return []
    if len(shape) == 3:
        found = [1 if shape[1] <= shape[2] else 2]
    elif shape[2] == shape[3]:
        found = [1]
    elif shape[1] == shape[2]:
        found = [len(shape) - 1]
    else:
        found = [1, len(shape) - 1]  # cannot be told: whichever looks worse counts
    return [axis for axis in found if 2 <= shape[axis] <= MOST_SLICES]


def _slices(want: Array, got: Array) -> Array:
    """Return the relative error of each slice, clipped to 1; of two axes that may tell kinds apart, the worse.

    An error is relative to the slice's spread, or to a hundredth of its largest value, or to a tiny share of the output's
    where the slice is nearly constant.
    """
    largest = float(np.abs(want).max()) if want.size else 0.0
    ways = []
    axes: list[int | None] = [*_axes(want.shape)]
    for axis in axes or [None]:
        parts = [(want, got)] if axis is None else list(
            zip(np.moveaxis(want, axis, 0), np.moveaxis(got, axis, 0), strict=True)
        )  # fmt: skip
        ways.append(np.array([_relative(one, two, largest) for one, two in parts]))
    return max(ways, key=lambda errors: float(errors.mean()))


def _relative(want: Array, got: Array, largest: float) -> float:
    if not want.size:
        return 0.0
    spread = max(float(want.std()), 0.01 * float(np.abs(want).max()), 1e-4 * largest, 1e-12)
    missed = float(np.sqrt(np.mean((want - got) ** 2))) / spread
    return min(missed, 1.0) if np.isfinite(missed) else 1.0
