"""Training that knows of int8: weights and what the layers see are rounded as the runtime will round them, while it learns.

BatchNorm is folded first, as the exporter will fold it, so that the weights that are rounded are the weights that run. Placing
QuantizeLinear and DequantizeLinear is left to `quantize_static` afterwards: it measures the ranges anew on the trained model and puts
the nodes where the target's kernels fuse them, which exporters of fake-quantized modules do not.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from ..candidate import Candidate
from ..errors import RecipeError
from ..training import channels_last, evaluate
from ..workload import Workload
from .alphabet import Snap
from .distill import Distill
from .finetune import Finetune
from .reshape import bake, hold, weight_of, weighted_layers
from .step import Context, require

CALIBRATION_BATCH = 64
INT8 = (-128, 127)
INT8_LEVELS = 255


@dataclass(frozen=True)
class Aware:
    """Train with int8 weights and activations in the loop, learning from the original (Jacob and others, 2018).

    Preserves channels and, with a symmetric grid, zeros. With `levels` below 255 the weights come from an alphabet, as in
    `alphabet`, and `quantize_static` checks that it is still there.
    """

    name: ClassVar[str] = "aware"
    takes: ClassVar[str] = "module"

    levels: int = 255
    """Values of a channel's weights: 255 is int8, 15 a 4-bit alphabet on int8 kernels."""
    samples: int = 256
    """Of the calibration data: what the ranges of activations begin with."""
    recover: Finetune | Distill = field(default_factory=lambda: Distill(epochs=1, learning_rate=0.002))
    keep: tuple[str, ...] = ()
    """Layers that stay in floating point; name them in quantize_static's `exclude` too."""

    def __post_init__(self) -> None:
        rules = {
            "levels": (3 <= self.levels <= 255 and self.levels % 2 == 1, "odd, 3 to 255"),
            "samples": (self.samples >= 1, "1 or more"),
        }
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`int8-aware + distill 1 epochs`, `int8-aware, 15 weight values + …`."""
        few = f", {self.levels} weight values" if self.levels < INT8_LEVELS else ""
        return f"int8-aware{few} + {self.recover.words}"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate, without BatchNorm, that learned to live with int8."""
        model = folded(candidate.copy_of_module(self.name))
        observers = _observe(model, self, workload.calibration_inputs[: self.samples])
        hold(
            model,
            self,
            self.keep,
            lambda _, layer: Snap(weight_of(layer), self.levels),
        )
        for observer in observers:
            observer.rounds = True
        self.recover.train(model, workload, context)
        bake(model)
        for observer in observers:
            observer.handle.remove()
        validation = evaluate(model, workload, workload.validation)
        made = candidate.then(self.words, module=model, validation=validation)
        return made if self.levels == INT8_LEVELS else made.then_fact(alphabet=self.levels)


def folded(model: nn.Module) -> nn.Module:
    """Return the model with each BatchNorm inside the convolution before it; raise RecipeError when it cannot be traced."""
    try:
        traced: nn.Module = fuse(model.eval())
    except Exception as error:
        raise RecipeError(
            f"step 'aware': the model's forward cannot be traced to fold its BatchNorm: {error}. Branches on values of tensors "
            "are the usual reason"
        ) from error
    for parameter in traced.parameters():
        parameter.requires_grad_(True)  # folding makes a bias that does not learn
    return traced


class _Observer:
    """What one layer sees: its range so far and, once `rounds` is set, rounded to int8 with the gradient passed through."""

    def __init__(self, layer: nn.Module) -> None:
        self.low, self.high = 0.0, 0.0
        self.rounds = False
        self.handle = layer.register_forward_pre_hook(self)

    def __call__(self, layer: nn.Module, seen: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Round the first input, or take its range."""
        values = seen[0]
        if not self.rounds:
            self.low = min(self.low, float(values.detach().min()))
            self.high = max(self.high, float(values.detach().max()))
            return seen
        scale = max(self.high - self.low, 1e-8) / (INT8[1] - INT8[0])
        zero = max(INT8[0], min(INT8[1], round(INT8[0] - self.low / scale)))
        return (torch.fake_quantize_per_tensor_affine(values, scale, zero, *INT8), *seen[1:])


def _observe(model: nn.Module, step: Aware, inputs: Tensor) -> list[_Observer]:
    observers = [_Observer(layer) for _, layer in weighted_layers(model, step, step.keep)]
    model.eval()
    with torch.no_grad():
        for batch in torch.split(inputs, CALIBRATION_BATCH):
            model(channels_last(batch))
    return observers
