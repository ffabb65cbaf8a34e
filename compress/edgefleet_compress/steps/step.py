"""What every step is: a frozen dataclass of settings that turns one candidate into the next."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from torch import nn

from ..candidate import Candidate
from ..errors import RecipeError
from ..progress import Progress
from ..work import Epochs
from ..workload import Workload


@dataclass(frozen=True)
class Context:
    """What a step may need besides the candidate and the workload."""

    seed: int
    progress: Progress
    original: nn.Module | None = None
    """The module that distillation learns from; None while the original itself is being made."""
    epochs: Epochs | None = None
    """Where each epoch is kept until the step is finished; None keeps nothing."""


class Step(Protocol):
    """One step. Its settings are its fields; `words` is how reports and lineage write it."""

    name: ClassVar[str]
    takes: ClassVar[str]
    """`module` or `onnx`: on which side of the border it works."""

    @property
    def words(self) -> str:
        """The step with the settings that matter, as in `prune 30 %`."""

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the next candidate; `candidate` itself is left as it was."""


def require(step: str, rules: Mapping[str, tuple[bool, str]]) -> None:
    """Raise RecipeError for the first setting whose rule, (holds, what is allowed), does not hold."""
    for setting, (holds, allowed) in rules.items():
        if not holds:
            raise RecipeError(f"step {step!r}: {setting} must be {allowed}")
