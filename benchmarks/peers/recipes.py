"""Our variants, and the chain that a person would build of the best single tools, for one of the three networks."""

from typing import Literal

from edgefleet_compress.gates.limits import Limits
from edgefleet_compress.recipe import Recipe, Recipes, arrange
from edgefleet_compress.steps import Step
from edgefleet_compress.steps.aware import Aware
from edgefleet_compress.steps.distill import Distill
from edgefleet_compress.steps.equalize import Equalize
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.steps.prune import Prune
from edgefleet_compress.steps.quantize_static import QuantizeStatic
from edgefleet_compress.steps.tidy import Tidy

from .nets import EPOCHS

SAMPLES = 512
INT8 = (QuantizeStatic(samples=SAMPLES), Tidy())
SHORT = (QuantizeStatic(samples=SAMPLES, short_scales=True), Tidy())
SMALL_BATCH = 32
"""What recovers in two epochs gains more from many steps than from smooth ones: on validation, 1.1 points over 128 for `mb6`."""
CRITERIA: tuple[Literal["magnitude", "taylor"], ...] = ("magnitude", "taylor")
Way = tuple[float, Literal["layer", "isomorphic"], int]
EQUAL_WIRE: dict[str, tuple[Way, ...]] = {
    "res": ((0.3, "layer", 15), (0.25, "isomorphic", 15)),
    "mb6": ((0.3, "layer", 11), (0.2, "isomorphic", 15)),
}
"""Ratio, scope and values of a channel's weights that come to at most the wire of the single tools' chain."""


def recipes(net: str) -> Recipes:
    """Return the recipes. Every training after the original has two epochs."""

    def prune(
        ratio: float, criterion: Literal["magnitude", "taylor"], scope: Literal["layer", "isomorphic"], batch: int
    ) -> Step:
        recover = Distill(epochs=2, batch=batch)
        return Prune(ratio=ratio, criterion=criterion, scope=scope, tolerance_points=100.0, attempts=1, recover=recover)

    def letters(levels: int = 15) -> Step:
        return Aware(levels=levels, samples=SAMPLES, recover=Distill(epochs=2, batch=SMALL_BATCH, learning_rate=0.01))

    variants = [
        Recipe("int8", INT8),
        Recipe("int8-percentile", (QuantizeStatic(samples=SAMPLES, method="percentile"), Tidy())),
        Recipe("int8-mse", (QuantizeStatic(samples=SAMPLES, method="mse"), Tidy())),
        Recipe("int8-short", SHORT),
        Recipe("int8-symmetric", (QuantizeStatic(samples=SAMPLES, symmetric=True), Tidy())),
    ]
    if net == "res":  # Relu6 and SiLU have an end, or no scale to move
        variants.append(
            Recipe("int8-equalized", (Equalize(), QuantizeStatic(samples=SAMPLES, correct_bias=True), Tidy()))
        )
    if net != "mbs":
        # What the best single tools give in a row: torch-pruning, distillation, onnxruntime.
        variants.append(Recipe("chain-p50", (prune(0.5, "magnitude", "layer", 128), *INT8)))
        variants += [
            Recipe(f"p50-{criterion}", (prune(0.5, criterion, "layer", SMALL_BATCH), *SHORT)) for criterion in CRITERIA
        ]
        variants += [
            Recipe(
                f"p{round(100 * ratio)}-{scope}-a{levels}",
                (prune(ratio, "taylor", scope, SMALL_BATCH), letters(levels), *SHORT),
            )
            for ratio, scope, levels in EQUAL_WIRE[net]
        ]
    variants.append(Recipe("a15", (letters(), *SHORT)))
    original = (Finetune(epochs=EPOCHS[net], batch=128, learning_rate=0.1),)
    return arrange(Recipes(original, tuple(variants), Limits(refuse=False)))
