"""Our variants, and the chain that a person would build of the best single tools, for one of the three networks."""

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


def recipes(net: str) -> Recipes:
    """Return the recipes. Every fine-tuning after the original has two epochs; training in an alphabet one."""
    kd = Distill(epochs=2, batch=128)

    def prune(ratio: float, criterion: str = "magnitude", scope: str = "layer") -> Step:
        return Prune(
            ratio=ratio,
            criterion=criterion,
            scope=scope,
            tolerance_points=100.0,
            attempts=1,
            recover=kd,  # type: ignore[arg-type]
        )

    def letters(rate: float) -> Step:
        return Aware(levels=15, samples=SAMPLES, recover=Distill(epochs=1, batch=128, learning_rate=rate))

    variants = [
        Recipe("int8", INT8),
        Recipe("int8-percentile", (QuantizeStatic(samples=SAMPLES, method="percentile"), Tidy())),
        Recipe("int8-mse", (QuantizeStatic(samples=SAMPLES, method="mse"), Tidy())),
        Recipe("int8-symmetric", (QuantizeStatic(samples=SAMPLES, symmetric=True), Tidy())),
    ]
    if net == "res":  # Relu6 and SiLU have an end, or no scale to move
        variants.append(
            Recipe("int8-equalized", (Equalize(), QuantizeStatic(samples=SAMPLES, correct_bias=True), Tidy()))
        )
    if net != "mbs":
        variants += [
            # What the best single tools give in a row: torch-pruning, distillation, onnxruntime.
            Recipe("chain-p50", (prune(0.5), *INT8)),
            Recipe("p50-taylor", (prune(0.5, "taylor"), *INT8)),
            Recipe("p50-global", (prune(0.5, "magnitude", "isomorphic"), *INT8)),
            Recipe("p30-a15", (prune(0.3), letters(0.01), *INT8)),
            Recipe("p30-taylor-a15", (prune(0.3, "taylor"), letters(0.01), *INT8)),
            Recipe("a15", (letters(0.01), *INT8)),
        ]
    else:
        variants.append(Recipe("a15", (letters(0.01), *INT8)))
    original = (Finetune(epochs=EPOCHS[net], batch=128, learning_rate=0.1),)
    return arrange(Recipes(original, tuple(variants), Limits(refuse=False)))
