"""Activations that the int8 kernels have none for, replaced by ones that vanish into the quantizer."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from torch import nn

from ..candidate import Candidate
from ..errors import RecipeError
from ..training import evaluate
from ..workload import Workload
from .distill import Distill
from .finetune import Finetune
from .reshape import replace_layer
from .step import Context

SWAPPED = (nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU, nn.ELU, nn.Mish, nn.PReLU, nn.Hardsigmoid)
NEW = {"relu": nn.ReLU, "relu6": nn.ReLU6}


@dataclass(frozen=True)
class SwapActivations:
    """Replace SiLU, Hardswish, GELU and their kin by Relu or Relu6, and recover.

    A Relu before a quantizer costs nothing: the quantizer's range begins at zero. A Hardswish keeps the convolution before it from
    being fused, and stays in floating point. Preserves the weights' form, channels and zeros.
    """

    name: ClassVar[str] = "swap_activations"
    takes: ClassVar[str] = "module"

    to: Literal["relu", "relu6"] = "relu6"
    recover: Finetune | Distill = field(default_factory=lambda: Distill(epochs=2))

    @property
    def words(self) -> str:
        """`activations to relu6 + distill 2 epochs`."""
        return f"activations to {self.to} + {self.recover.words}"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate; raise RecipeError when it has none of these as modules."""
        model = candidate.copy_of_module(self.name)
        names = [name for name, layer in model.named_modules() if isinstance(layer, SWAPPED)]
        if not names:
            kinds = ", ".join(kind.__name__ for kind in SWAPPED)
            raise RecipeError(
                f"step 'swap_activations': the model has none of {kinds} as a module; those called as functions inside "
                "`forward` cannot be replaced from outside"
            )
        for name in names:
            replace_layer(model, name, NEW[self.to]())
        self.recover.train(model, workload, context)
        validation = evaluate(model, workload, workload.validation)
        return candidate.then(self.words, module=model, validation=validation, activations_swapped=len(names))
