"""Take whole channels out, along the dependencies between layers, so that what is left is a smaller dense model.

The only file that imports torch-pruning (tried with 1.6.1).
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

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

IMPORTANCE = {
    "magnitude": lambda: torch_pruning.importance.MagnitudeImportance(p=2),
    "batchnorm": torch_pruning.importance.BNScaleImportance,
    "fpgm": torch_pruning.importance.FPGMImportance,
    "taylor": torch_pruning.importance.TaylorImportance,
}
MOST_OF_A_LAYER = 0.8
"""Where layers compete, none loses more than this: a layer that was cut to nothing ends what flows through it."""
GRADIENT_SAMPLES = 512


@dataclass(frozen=True)
class Prune:
    """Prune, recover, look at the validation data, and try a lower ratio when too much was lost."""

    name: ClassVar[str] = "prune"
    takes: ClassVar[str] = "module"

    ratio: float = 0.3
    """Share of the channels that goes, before rounding: of each layer, or of all together (`scope`)."""
    criterion: Literal["magnitude", "batchnorm", "fpgm", "taylor"] = "magnitude"
    """How a channel's worth is judged: by its weights, by BatchNorm's factor (Liu and others, 2017), by how near it is to the
    others (He and others, 2019), or by what the loss would change (Molchanov and others, 2019)."""
    scope: Literal["layer", "global", "isomorphic"] = "layer"
    """Where channels compete: within their layer, in the whole model, or among layers of the same shape (Fang and others, 2024)."""
    rounds: int = 1
    """In how many cuts the ratio is reached; each is followed by `recover`."""
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
            "rounds": (1 <= self.rounds <= 10, "1 to 10"),
        }
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`prune 30 % + distill 5 epochs`, `prune 50 % by taylor, global, in 3 rounds + …`."""
        return self._words(self.ratio)

    def _words(self, ratio: float) -> str:
        how = [f"by {self.criterion}"] if self.criterion != "magnitude" else []
        how += [self.scope] if self.scope != "layer" else []
        how += [f"in {self.rounds} rounds"] if self.rounds > 1 else []
        return (
            f"prune {ratio:.0%}".replace("%", " %")
            + "".join(f"{', ' if place else ' '}{word}" for place, word in enumerate(how))
            + f" + {self.recover.words}"
        )

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the pruned and recovered candidate; raise ToleranceMissed when no ratio stays within the tolerance."""
        whole = candidate.copy_of_module(self.name)
        before = evaluate(context.original or whole, workload, workload.validation)
        lost: list[str] = []
        sizes = {_size(whole)}
        tried, ratio = 0, self.ratio
        while tried < self.attempts and ratio > 0.01:
            model = candidate.copy_of_module(self.name)
            self._cut(model, workload, ratio)
            if _size(model) in sizes:  # rounded to the same channels as before: nothing new to train
                lost.append(f"{ratio:.0%} comes to the same once rounded to {self.round_to} channels")
                ratio -= self.lower_by
                continue
            sizes.add(_size(model))
            tried += 1
            for rounds_left in range(self.rounds - 1, -1, -1):
                recover_batchnorm(model, workload)
                self.recover.train(model, workload, context)
                if rounds_left:
                    self._cut(model, workload, ratio)
            after = evaluate(model, workload, workload.validation)
            if before - after <= self.tolerance_points / 100 + 1e-9:
                left = _size(model) / _size(whole)
                return candidate.then(
                    self._words(ratio),
                    module=model,
                    validation=after,
                    prune_ratio=round(ratio, 4),
                    parameters_left=left,
                )
            lost.append(f"{ratio:.0%} lost {100 * (before - after):.2f}")
            ratio -= self.lower_by
        raise ToleranceMissed(
            f"pruning may lose {self.tolerance_points:g} points of validation {workload.metric_name} and "
            f"{'; '.join(lost)}. Recover for more epochs, begin with a lower ratio, or allow more"
        )

    def _cut(self, model: nn.Module, workload: Workload, ratio: float) -> None:
        """Cut for one round: the rounds together leave `1 - ratio`."""
        once = 1 - (1 - ratio) ** (1 / self.rounds)
        if self.criterion == "taylor":
            _gather_gradients(model, workload)
        cut(model, workload.example(), once, self.round_to, self.keep, self.criterion, self.scope)
        model.zero_grad(set_to_none=True)


def check_keep(model: nn.Module, keep: tuple[str, ...]) -> None:
    """Raise RecipeError unless `keep` names layers of `model`."""
    layers = [name for name, _ in model.named_modules() if name]
    if unknown := [name for name in keep if name not in layers]:
        raise RecipeError(f"step 'prune': keep names {unknown}, and the model has {layers}")


def cut(
    model: nn.Module,
    example: Tensor,
    ratio: float,
    round_to: int,
    keep: tuple[str, ...] = (),
    criterion: str = "magnitude",
    scope: str = "layer",
) -> None:
    """Take `ratio` of the channels out of `model`, in place, but for the last layer and those in `keep`."""
    check_keep(model, keep)
    layers = dict(model.named_modules())
    ignored = [layers[name] for name in keep] + [_last_layer(model, example)]
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # its graph is traced by autograd, which frozen layers would hide
    try:
        pruner = torch_pruning.pruner.BasePruner(
            model,
            example,
            importance=IMPORTANCE[criterion](),
            global_pruning=scope != "layer",
            isomorphic=scope == "isomorphic",
            pruning_ratio=ratio,
            pruning_ratio_dict=_to_nearest(model, ratio, round_to) if scope == "layer" else None,
            max_pruning_ratio=MOST_OF_A_LAYER if scope != "layer" else 1.0,
            ignored_layers=ignored,
            round_to=round_to,
        )
        pruner.step()
        with torch.no_grad():
            model.eval()(example)
    except Exception as error:
        raise RecipeError(f"step 'prune': this model cannot be pruned by its dependencies: {error}") from error


def _gather_gradients(model: nn.Module, workload: Workload) -> None:
    """Leave in each parameter the gradient of the workload's loss over some training data."""
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.eval()
    model.zero_grad(set_to_none=True)
    rows = slice(0, GRADIENT_SAMPLES)
    workload.loss(model(workload.train.inputs[rows]), workload.train.targets[rows]).backward()  # type: ignore[no-untyped-call]


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
