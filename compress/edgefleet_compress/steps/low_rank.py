"""A layer as two thinner ones: the singular value decomposition, cut where little is lost."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..candidate import Candidate
from ..errors import RecipeError
from ..training import evaluate
from ..workload import Workload
from .distill import Distill
from .finetune import Finetune
from .reshape import replace_layer, weight_of, weighted_layers, window_of
from .step import Context, require


@dataclass(frozen=True)
class LowRank:
    """Split each layer where two thin ones cost less, and recover.

    A convolution becomes one with as many filters as the rank, and a 1x1 after it (Denton and others, 2014). Preserves nothing of the
    steps before: put it before pruning.
    """

    name: ClassVar[str] = "low_rank"
    takes: ClassVar[str] = "module"

    energy: float = 0.9
    """Share of the squared singular values that stays."""
    round_to: int = 8
    """Ranks are a multiple of this."""
    recover: Finetune | Distill = field(default_factory=lambda: Distill(epochs=2))
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rules = {"energy": (0 < self.energy < 1, "between 0 and 1"), "round_to": (self.round_to >= 1, "1 or more")}
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`low rank 90 % + distill 2 epochs`."""
        return f"low rank {self.energy:.0%} + {self.recover.words}".replace("%", " %")

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate with split layers; raise RecipeError when no layer would cost less in two."""
        model = candidate.copy_of_module(self.name)
        split = []
        for name, layer in list(weighted_layers(model, self, self.keep)):
            if (thin := self._split(layer)) is not None:
                replace_layer(model, name, thin)
                split.append(name)
        if not split:
            raise RecipeError(
                f"step 'low_rank': at {self.energy:.0%} of the energy no layer costs less in two; ask for less"
            )
        self.recover.train(model, workload, context)
        validation = evaluate(model, workload, workload.validation)
        return candidate.then(self.words, module=model, validation=validation, layers_split=len(split))

    def _split(self, layer: nn.Module) -> nn.Sequential | None:
        if not isinstance(layer, nn.Conv2d | nn.Linear) or getattr(layer, "groups", 1) != 1:
            return None
        weight = weight_of(layer).detach()
        u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        enough = int((torch.cumsum(s**2, 0) / (s**2).sum() < self.energy).sum()) + 1
        rank = -(-enough // self.round_to) * self.round_to
        if rank * (weight[0].numel() + weight.shape[0]) >= weight.numel():
            return None
        root = s[:rank].sqrt()
        first, second = root[:, None] * v[:rank], u[:, :rank] * root
        return (
            _two_linear(layer, first, second)
            if isinstance(layer, nn.Linear)
            else _two_convolutions(layer, first, second)
        )


def _two_linear(layer: nn.Linear, first: Tensor, second: Tensor) -> nn.Sequential:
    down = nn.Linear(layer.in_features, len(first), bias=False)
    up = nn.Linear(len(first), layer.out_features, bias=layer.bias is not None)
    return _filled(down, up, first, second, layer.bias)


def _two_convolutions(layer: nn.Conv2d, first: Tensor, second: Tensor) -> nn.Sequential:
    down = window_of(layer, len(first), 1)
    up = nn.Conv2d(len(first), layer.out_channels, 1, bias=layer.bias is not None)
    return _filled(down, up, first, second, layer.bias)


def _filled(
    down: nn.Conv2d | nn.Linear, up: nn.Conv2d | nn.Linear, first: Tensor, second: Tensor, bias: Tensor | None
) -> nn.Sequential:
    with torch.no_grad():
        down.weight.copy_(first.reshape(down.weight.shape))
        up.weight.copy_(second.reshape(up.weight.shape))
        if bias is not None and up.bias is not None:
            up.bias.copy_(bias)
    return nn.Sequential(down, up)
