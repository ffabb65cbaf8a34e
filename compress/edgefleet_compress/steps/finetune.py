"""Train on the workload's data: the original from nothing, or a candidate a little further."""

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ..candidate import Candidate
from ..training import Schedule, evaluate, train
from ..workload import Workload
from .step import Context, require


@dataclass(frozen=True)
class Finetune:
    """Train with the workload's own loss."""

    name: ClassVar[str] = "finetune"
    takes: ClassVar[str] = "module"

    epochs: int = 5
    learning_rate: float = 0.05
    batch: int = 64
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        require(self.name, schedule_rules(self))

    @property
    def words(self) -> str:
        """`finetune 5 epochs`."""
        return f"finetune {self.epochs} epochs"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the trained candidate, with its metric on the validation data as a fact."""
        model = candidate.copy_of_module(self.name)
        before = [] if self.epochs > 1 else [evaluate(model, workload, workload.validation)]
        history = before + self._train(model, workload, context, judged=True)
        return candidate.then(
            self.words, module=model, validation=history[-1], last_epoch_gain=round(history[-1] - history[-2], 6) + 0.0
        )

    def train(self, model: nn.Module, workload: Workload, context: Context) -> None:
        """Train `model` in place."""
        self._train(model, workload, context, judged=False)

    def _train(self, model: nn.Module, workload: Workload, context: Context, *, judged: bool) -> list[float]:
        schedule = schedule_of(self)
        return train(model, workload, schedule, context.seed, context.progress, judged=judged, epochs=context.epochs)


def schedule_of(step: object) -> Schedule:
    """Return the schedule among a training step's settings."""
    fields = ("epochs", "learning_rate", "batch", "weight_decay")
    return Schedule(**{name: getattr(step, name) for name in fields})


def schedule_rules(step: object) -> dict[str, tuple[bool, str]]:
    """Return the rules that every training step's settings obey."""
    schedule = schedule_of(step)
    return {
        "epochs": (schedule.epochs >= 1, "1 or more"),
        "learning_rate": (0 < schedule.learning_rate <= 10, "above 0 and at most 10"),
        "batch": (schedule.batch >= 2, "2 or more"),
        "weight_decay": (schedule.weight_decay >= 0, "0 or more"),
    }
