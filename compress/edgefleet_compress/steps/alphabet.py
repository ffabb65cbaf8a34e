"""Few weight values: each channel's weights come from a small alphabet, which the wire's compression turns into bytes saved.

The file still runs on the int8 kernels: an alphabet of 15 values times a scale per channel fits int8 exactly.
"""

from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ..candidate import Candidate
from ..training import evaluate
from ..workload import Workload
from .distill import Distill
from .finetune import Finetune
from .reshape import bake, hold, weight_of
from .scales import short
from .step import Context, require

CLIPS = torch.linspace(0.5, 1.0, 11)
"""Shares of the largest weight that a channel's alphabet may end at; the one with the least squared error is taken."""


@dataclass(frozen=True)
class Alphabet:
    """Snap weights to `levels` values per output channel, while training goes on towards the original's answers.

    Preserves what was pruned (whole channels are gone already) and zeros (zero is a letter). What comes after keeps the alphabet: export
    folds BatchNorm by a factor per channel, and int8 has a scale per channel; `quantize_static` checks that it did.
    """

    name: ClassVar[str] = "alphabet"
    takes: ClassVar[str] = "module"

    levels: int = 15
    """Odd: as many below zero as above. 15 is what 4 bits hold."""
    recover: Finetune | Distill = field(default_factory=lambda: Distill(epochs=1, learning_rate=0.01))
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(self.name, {"levels": (3 <= self.levels <= 255 and self.levels % 2 == 1, "odd, 3 to 255")})

    @property
    def words(self) -> str:
        """`15 weight values + distill 1 epochs`."""
        return f"{self.levels} weight values + {self.recover.words}"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate whose weights are letters."""
        model = candidate.copy_of_module(self.name)
        hold(model, self, self.keep, lambda _, layer: Snap(weight_of(layer), self.levels))
        self.recover.train(model, workload, context)
        bake(model)
        validation = evaluate(model, workload, workload.validation)
        return candidate.then(self.words, module=model, validation=validation, alphabet=self.levels)


class Snap(nn.Module):
    """The nearest letter, with the gradient passed straight through (Bengio, Leonard and Courville, 2013)."""

    def __init__(self, weight: Tensor, levels: int) -> None:
        super().__init__()
        self.most = levels // 2
        self.register_buffer("scale", _best_scale(weight.detach(), self.most))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, …) to the same shape. The letters stay where they were best: weights cannot grow beyond the last one."""
        scale = cast(Tensor, self.scale)
        snapped = (weight / scale).round().clamp(-self.most, self.most) * scale
        return weight + (snapped - weight).detach()

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The weight that training goes on with is the one before."""
        return weight


def _best_scale(weight: Tensor, most: int) -> Tensor:
    """Return, for each output channel, the step between letters that leaves the least squared error."""
    flat = weight.flatten(1)
    largest = flat.abs().amax(1).clamp_min(1e-12)
    scales = largest[None] * CLIPS[:, None] / most  # (clips, out)
    snapped = (flat[None] / scales[..., None]).round().clamp(-most, most) * scales[..., None]
    best = ((snapped - flat[None]) ** 2).sum(2).argmin(0)
    found = torch.from_numpy(short(scales.gather(0, best[None])[0].numpy()))  # a scale that costs the wire little
    return found.reshape(-1, *([1] * (weight.ndim - 1)))
