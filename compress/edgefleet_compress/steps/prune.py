"""Take whole channels out, along the dependencies between layers, so that what is left is a smaller dense model.

The only file that imports torch-pruning (tried with 1.6.1).
"""

import logging
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch_pruning
from torch import Tensor, nn

from ..candidate import Candidate
from ..errors import RecipeError, ToleranceMissed
from ..training import evaluate, recover_batchnorm
from ..workload import Workload
from .distill import Distill
from .finetune import Finetune
from .step import Context, require

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prune:
    """Prune, recover, look at the validation data, and try a lower ratio when too much was lost."""

    name: ClassVar[str] = "prune"
    takes: ClassVar[str] = "module"

    ratio: float = 0.3
    """Share of each layer's channels that goes, before rounding."""
    round_to: int = 8
    """Channels left are a multiple of this: kernels work in blocks, and odd counts can be slower than more channels."""
    tolerance_points: float = 0.5
    """Most that the validation metric may be below the candidate's, in hundredths."""
    lower_by: float = 0.1
    attempts: int = 3
    recover: Finetune | Distill = field(default_factory=Distill)
    """How the pruned model is trained before it is judged."""
    keep: tuple[str, ...] = ()
    """Layers that are not pruned, by name, besides the last one."""

    def __post_init__(self) -> None:
        rules = {
            "ratio": (0 < self.ratio < 1, "between 0 and 1"),
            "round_to": (self.round_to >= 1, "1 or more"),
            "tolerance_points": (self.tolerance_points >= 0, "0 or more"),
            "lower_by": (0 < self.lower_by < 1, "between 0 and 1"),
            "attempts": (self.attempts >= 1, "1 or more"),
        }
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`prune 30 % + distill 5 epochs`."""
        return f"prune {self.ratio:.0%} + {self.recover.words}".replace("%", " %")

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the pruned and recovered candidate; raise ToleranceMissed when no ratio stays within the tolerance."""
        whole = candidate.copy_of_module(self.name)
        before = evaluate(whole, workload, workload.validation)
        lost: list[str] = []
        for attempt in range(self.attempts):
            ratio = self.ratio - attempt * self.lower_by
            if ratio <= 0.01:
                break
            model = candidate.copy_of_module(self.name)
            cut(model, workload.example(), ratio, self.round_to, self.keep)
            if _size(model) == _size(whole):
                lost.append(f"{ratio:.0%} takes nothing away once rounded to {self.round_to} channels")
                break
            recover_batchnorm(model, workload)
            self.recover.train(model, workload, context)
            after = evaluate(model, workload, workload.validation)
            if before - after <= self.tolerance_points / 100 + 1e-9:
                words = f"prune {ratio:.0%} + {self.recover.words}".replace("%", " %")
                left = _size(model) / _size(whole)
                return candidate.then(
                    words, module=model, validation=after, prune_ratio=round(ratio, 4), parameters_left=left
                )
            lost.append(f"{ratio:.0%} lost {100 * (before - after):.2f}")
            log.info("prune %s points of %s", lost[-1], workload.metric_name)
        raise ToleranceMissed(
            f"pruning may lose {self.tolerance_points:g} points of validation {workload.metric_name} and "
            f"{'; '.join(lost)}. Recover for more epochs, begin with a lower ratio, or allow more"
        )


def cut(model: nn.Module, example: Tensor, ratio: float, round_to: int, keep: tuple[str, ...] = ()) -> None:
    """Take `ratio` of the channels out of every layer of `model`, in place, but for the last and those in `keep`."""
    layers = dict(model.named_modules())
    if unknown := [name for name in keep if name not in layers]:
        raise RecipeError(f"step 'prune': keep names {unknown}, and the model has {[name for name in layers if name]}")
    ignored = [layers[name] for name in keep] + [_last_layer(model, example)]
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # its graph is traced by autograd, which frozen layers would hide
    try:
        pruner = torch_pruning.pruner.MagnitudePruner(
            model,
            example,
            importance=torch_pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=ratio,
            ignored_layers=ignored,
            round_to=round_to,
        )
        pruner.step()
        with torch.no_grad():
            model.eval()(example)
    except Exception as error:
        raise RecipeError(f"step 'prune': this model cannot be pruned by its dependencies: {error}") from error


def _last_layer(model: nn.Module, example: Tensor) -> nn.Module:
    """Return the layer that ran last: its channels are the outputs, which the interface fixes."""
    ran: list[nn.Module] = []
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    hooks = [
        module.register_forward_hook(lambda layer, *_: ran.append(layer))
        for module in model.modules()
        if isinstance(module, kinds)
    ]
    with torch.no_grad():
        model.eval()(example)
    for hook in hooks:
        hook.remove()
    if not ran:
        raise RecipeError("step 'prune': the model has no convolution and no linear layer")
    return ran[-1]


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
