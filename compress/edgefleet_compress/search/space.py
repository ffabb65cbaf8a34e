"""The combinations that are tried: one point, and the steps that it stands for. Pure.

The order is not free where a later step would undo an earlier one: weights take their letters last, because training outside
the alphabet loses them, and quantization stands behind the export. What is free is which of rewriting and pruning comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from ..steps import Step
from ..steps.alphabet import Alphabet
from ..steps.aware import Aware
from ..steps.distill import Distill
from ..steps.equalize import Equalize
from ..steps.low_rank import LowRank
from ..steps.prune import Prune
from ..steps.quantize_static import QuantizeStatic
from ..steps.separable import Separable
from ..steps.swap_activations import SwapActivations
from ..steps.tidy import Tidy

Rewrite = Literal["none", "low-rank", "separable", "relu6"]
Weights = Literal["free", "alphabet", "aware"]
Numbers = Literal["fp32", "minmax", "percentile", "mse", "equalized"]
REWRITES: tuple[Rewrite, ...] = ("none", "low-rank", "separable", "relu6")
WEIGHTS: tuple[Weights, ...] = ("free", "alphabet", "aware")
NUMBERS: tuple[Numbers, ...] = ("fp32", "minmax", "percentile", "mse", "equalized")
ENERGIES = (0.7, 0.8, 0.9)
RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
CRITERIA: tuple[Literal["magnitude", "batchnorm", "fpgm", "taylor"], ...] = ("magnitude", "batchnorm", "fpgm", "taylor")
SCOPES: tuple[Literal["layer", "global", "isomorphic"], ...] = ("layer", "global", "isomorphic")
LEVELS = (15, 31, 255)


@dataclass(frozen=True)
class Point:
    """One combination."""

    rewrite: Rewrite = "none"
    energy: float = 0.8
    """Of low rank."""
    prune: float = 0.0
    criterion: Literal["magnitude", "batchnorm", "fpgm", "taylor"] = "magnitude"
    scope: Literal["layer", "global", "isomorphic"] = "layer"
    prune_first: bool = False
    """Whether pruning comes before the rewrite."""
    weights: Weights = "free"
    levels: int = 255
    numbers: Numbers = "minmax"

    @property
    def name(self) -> str:
        """A name for the variant: `p30-aware15-int8`."""
        prune = f"p{round(100 * self.prune)}" if self.prune else ""
        if prune and self.criterion != "magnitude":
            prune += f"-{self.criterion}"
        if prune and self.scope != "layer":
            prune += f"-{self.scope}"
        rewrite: str = "" if self.rewrite == "none" else self.rewrite
        rewrite += f"{round(100 * self.energy)}" if self.rewrite == "low-rank" else ""
        shapes = [prune, rewrite] if self.prune_first else [rewrite, prune]
        weights = "" if self.weights == "free" else f"{self.weights}{self.levels}"
        numbers = {"fp32": "", "minmax": "int8"}.get(self.numbers, f"int8-{self.numbers}")
        return "-".join(part for part in (*shapes, weights, numbers) if part) or "plain"


FAMILIAR = (
    Point(),
    Point(numbers="mse"),
    Point(prune=0.3),
    Point(prune=0.5),
    Point(prune=0.5, numbers="fp32"),
    Point(weights="aware", levels=15),
    Point(prune=0.3, weights="aware", levels=15),
)
"""Tried first: what a person would begin with, so that a search is never worse than that."""

T = TypeVar("T")


class Ask(Protocol):
    """Takes a name and what there is, and returns one of it."""

    def __call__(self, name: str, choices: Sequence[T]) -> T:
        """Return the choice."""


def draw(ask: Ask, rewrites: Sequence[Rewrite] = REWRITES) -> Point:
    """Return a point, made of answers of `ask`. A setting that would change nothing is not asked for."""
    rewrite = ask("rewrite", rewrites)
    energy = ask("energy", ENERGIES) if rewrite == "low-rank" else Point.energy
    ratio = ask("prune", RATIOS)
    criterion = ask("criterion", CRITERIA) if ratio else Point.criterion
    scope = ask("scope", SCOPES) if ratio else Point.scope
    both = bool(ratio) and rewrite != "none"
    prune_first = both and ask("prune_first", (False, True))
    weights = ask("weights", WEIGHTS)
    levels = Point.levels
    if weights != "free":
        levels = ask(f"levels_{weights}", LEVELS if weights == "aware" else LEVELS[:-1])
    # Letters and int8-aware weights are for the int8 kernels.
    numbers = ask("numbers", NUMBERS) if weights == "free" else ask("numbers_of_trained", NUMBERS[1:4])
    return Point(rewrite, energy, ratio, criterion, scope, prune_first, weights, levels, numbers)


def steps_of(point: Point, epochs: int) -> tuple[Step, ...]:
    """Return the steps of `point`. epochs: for each training inside them; the gentler ones, at the end, take half."""
    recover = Distill(epochs=epochs)
    shapes: list[Step] = []
    if point.rewrite == "low-rank":
        shapes.append(LowRank(energy=point.energy, recover=recover))
    elif point.rewrite == "separable":
        shapes.append(Separable(recover=recover))
    elif point.rewrite == "relu6":
        shapes.append(SwapActivations(recover=recover))
    if point.prune:
        cut = Prune(
            ratio=point.prune, criterion=point.criterion, scope=point.scope, tolerance_points=100.0, attempts=1, recover=recover
        )  # fmt: skip
        shapes.insert(0 if point.prune_first else len(shapes), cut)
    gentle = max(1, epochs // 2)
    if point.weights == "alphabet":
        shapes.append(Alphabet(levels=point.levels, recover=Distill(epochs=gentle, learning_rate=0.01)))
    elif point.weights == "aware":
        rate = 0.002 if point.levels == 255 else 0.01
        shapes.append(Aware(levels=point.levels, recover=Distill(epochs=gentle, learning_rate=rate)))
    return (*shapes, *_to_numbers(point.numbers), Tidy())


def _to_numbers(numbers: Numbers) -> tuple[Step, ...]:
    match numbers:
        case "fp32":
            return ()
        case "equalized":
            return (Equalize(), QuantizeStatic(correct_bias=True))
        case method:
            return (QuantizeStatic(method=method),)
