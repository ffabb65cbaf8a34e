"""Take whole channels out, along the dependencies between layers, so that what is left is a smaller dense model.

The only file that imports torch-pruning (tried with 1.6.1).
"""

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
    """Most that the validation metric may be below the original's, in hundredths."""
    lower_by: float = 0.1
    attempts: int = 3
    """How many ratios are trained, at most."""
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
        before = evaluate(context.original or whole, workload, workload.validation)
        lost: list[str] = []
        sizes = {_size(whole)}
        tried, ratio = 0, self.ratio
        while tried < self.attempts and ratio > 0.01:
            model = candidate.copy_of_module(self.name)
            cut(model, workload.example(), ratio, self.round_to, self.keep)
            if _size(model) in sizes:  # rounded to the same channels as before: nothing new to train
                lost.append(f"{ratio:.0%} comes to the same once rounded to {self.round_to} channels")
                ratio -= self.lower_by
                continue
            sizes.add(_size(model))
            tried += 1
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
            ratio -= self.lower_by
        raise ToleranceMissed(
            f"pruning may lose {self.tolerance_points:g} points of validation {workload.metric_name} and "
            f"{'; '.join(lost)}. Recover for more epochs, begin with a lower ratio, or allow more"
        )


def check_keep(model: nn.Module, keep: tuple[str, ...]) -> None:
    """Raise RecipeError unless `keep` names layers of `model`."""
    layers = [name for name, _ in model.named_modules() if name]
    if unknown := [name for name in keep if name not in layers]:
        raise RecipeError(f"step 'prune': keep names {unknown}, and the model has {layers}")


def cut(model: nn.Module, example: Tensor, ratio: float, round_to: int, keep: tuple[str, ...] = ()) -> None:
    """Take `ratio` of the channels out of every layer of `model`, in place, but for the last and those in `keep`."""
    check_keep(model, keep)
    layers = dict(model.named_modules())
    ignored = [layers[name] for name in keep] + [_last_layer(model, example)]
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # its graph is traced by autograd, which frozen layers would hide
    try:
        pruner = torch_pruning.pruner.MagnitudePruner(
            model,
            example,
            importance=torch_pruning.importance.MagnitudeImportance(p=2),
            pruning_ratio=ratio,
            pruning_ratio_dict=_to_nearest(model, ratio, round_to),
            ignored_layers=ignored,
            round_to=round_to,
        )
        pruner.step()
        with torch.no_grad():
            model.eval()(example)
    except Exception as error:
        raise RecipeError(f"step 'prune': this model cannot be pruned by its dependencies: {error}") from error


def _to_nearest(model: nn.Module, ratio: float, round_to: int) -> dict[nn.Module, float]:
    """Return the ratio for each layer that leaves the multiple of `round_to` nearest to what `ratio` asks for.

    torch-pruning itself always rounds down, which would take a third out of 24 channels for a ratio of a tenth.
    """
    ratios: dict[nn.Module, float] = {}
    for layer in model.modules():
        channels = getattr(layer, "out_channels", getattr(layer, "out_features", None))
        if isinstance(channels, int):
            left = min(max(round_to, round(channels * (1 - ratio) / round_to) * round_to), channels)
            # Half a channel to spare: the library's own rounding down then ends on `left`, whatever floats do.
            ratios[layer] = max(0.0, 1 - (left + 0.5) / channels)
    return ratios


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
