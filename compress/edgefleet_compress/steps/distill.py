"""Learn from the original: its whole answer says more about a sample than the one true label."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..candidate import Candidate
from ..errors import RecipeError
from ..training import evaluate, train
from ..workload import Workload
from .finetune import schedule_of, schedule_rules
from .step import Context, require


@dataclass(frozen=True)
class Distill:
    """Train towards the original's outputs, softened by a temperature, and a little towards the labels.

    A workload that is no classification says itself how far outputs are from the original's (`Workload.distil`).
    """

    name: ClassVar[str] = "distill"
    takes: ClassVar[str] = "module"

    epochs: int = 5
    learning_rate: float = 0.05
    batch: int = 64
    weight_decay: float = 5e-4
    temperature: float = 4.0
    weight: float = 0.7
    """Share of the original's word in the loss; the rest is the workload's own loss."""

    def __post_init__(self) -> None:
        rules = schedule_rules(self) | {
            "temperature": (self.temperature > 0, "above 0"),
            "weight": (0 < self.weight <= 1, "above 0 and at most 1"),
        }
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`distill 5 epochs`."""
        return f"distill {self.epochs} epochs"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate that learned from the original."""
        model = candidate.copy_of_module(self.name)
        self.train(model, workload, context)
        return candidate.then(self.words, module=model, validation=evaluate(model, workload, workload.validation))

    def train(self, model: nn.Module, workload: Workload, context: Context) -> None:
        """Train `model` in place.

        Source of the loss: Hinton, Vinyals and Dean, 2015; the factor of temperature squared keeps the gradients of
        both parts in proportion.
        """
        teacher = context.original
        if teacher is None:
            raise RecipeError("'distill' learns from the original and cannot be a step of the original itself")
        teacher.eval()

        def loss(inputs: Tensor, outputs: Tensor, targets: Tensor) -> Tensor:
            with torch.no_grad():
                taught = teacher(inputs)
            soft = self._soft(outputs, taught) if workload.distil is None else workload.distil(outputs, taught)
            if self.weight == 1:
                return soft
            return self.weight * soft + (1 - self.weight) * workload.loss(outputs, targets)

        train(model, workload, schedule_of(self), context.seed, context.progress, loss, epochs=context.epochs)

    def _soft(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return how far logits are from the original's, both softened."""
        theirs = functional.softmax(taught / self.temperature, 1)
        mine = functional.log_softmax(outputs / self.temperature, 1)
        return functional.kl_div(mine, theirs, reduction="batchmean") * self.temperature**2
