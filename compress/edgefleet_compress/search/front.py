"""Which of several scores are worth keeping, when more than one thing counts. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Score:
    """What one combination came to, on validation data and by counting: no test sample was looked at."""

    validation: float
    """The workload's metric."""
    wire_bytes: int
    latency_s: float
    """Predicted for the target."""

    def beats(self, other: "Score") -> bool:
        """Return whether this is at least as good in everything and better in something."""
        mine = (self.validation, -self.wire_bytes, -self.latency_s)
        theirs = (other.validation, -other.wire_bytes, -other.latency_s)
        return mine != theirs and all(a >= b for a, b in zip(mine, theirs, strict=True))


def fronts(rows: Sequence[T], score: Callable[[T], Score]) -> list[list[T]]:
    """Return the rows in layers: those that none beats, then those that only these beat, and so on.

    Non-dominated sorting: Deb and others, A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, 2002.
    """
    left, layers = list(rows), []
    while left:
        layer = [row for row in left if not any(score(other).beats(score(row)) for other in left)]
        layers.append(layer)
        left = [row for row in left if row not in layer]
    return layers


def promote(rows: Sequence[T], score: Callable[[T], Score], most: int, floor: float) -> list[T]:
    """Return at most `most` rows for the next, longer rung: those at or above `floor` before those below, better layers first.

    Within the layer that does not fit whole, the most accurate go on. floor: of the validation metric.
    """
    good = [row for row in rows if score(row).validation >= floor]
    bad = sorted((row for row in rows if row not in good), key=lambda row: -score(row).validation)
    ordered = [row for layer in fronts(good, score) for row in sorted(layer, key=lambda row: -score(row).validation)]
    return [*ordered, *bad][:most]
