"""Which of several scores are worth keeping, when more than one thing counts. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log
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

    Within a layer, those whose neighbours are far go on first: a front of twins says little. floor: of the validation metric.
    """
    good = [row for row in rows if score(row).validation >= floor]
    bad = sorted((row for row in rows if row not in good), key=lambda row: -score(row).validation)
    return [*(row for layer in fronts(good, score) for row in spread(layer, score)), *bad][:most]


def spread(layer: Sequence[T], score: Callable[[T], Score]) -> list[T]:
    """Return a layer's rows, those first that stand alone: both ends of each measure, then the widest gaps (crowding distance, as NSGA-II)."""
    room = [0.0] * len(layer)
    for measure in (lambda s: s.validation, lambda s: log(s.wire_bytes), lambda s: log(s.latency_s)):
        values = [measure(score(row)) for row in layer]
        order = sorted(range(len(layer)), key=lambda place: values[place])
        whole = (values[order[-1]] - values[order[0]]) or 1.0
        for number, place in enumerate(order):
            ends = number in (0, len(order) - 1)
            room[place] += inf if ends else (values[order[number + 1]] - values[order[number - 1]]) / whole
    return [
        layer[place]
        for place in sorted(range(len(layer)), key=lambda place: (-room[place], -score(layer[place]).validation))
    ]
