"""A candidate: what recipes work on. A torch module until the border, ONNX bytes behind it, with its lineage."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from .errors import RecipeError

Fact = float | int | str


@dataclass(frozen=True)
class Candidate:
    """One way to run the model, so far. Exactly one of `module` and `onnx` is there."""

    module: nn.Module | None = None
    onnx: bytes | None = None
    lineage: tuple[str, ...] = ()
    """The steps that made it, in words."""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What the steps found and chose on the way: `prune_ratio`, `validation`."""

    def copy_of_module(self, step: str) -> nn.Module:
        """Return a copy of the module that `step` may change; raise RecipeError behind the border."""
        if self.module is None:
            raise RecipeError(
                f"the step {step!r} needs a torch module and stands after {self.lineage[-1]!r}; move it before"
            )
        return copy.deepcopy(self.module)

    def onnx_bytes(self, step: str) -> bytes:
        """Return the ONNX file; raise RecipeError before the border."""
        if self.onnx is None:
            raise RecipeError(f"the step {step!r} needs an ONNX file; put the step 'export' before it")
        return self.onnx

    def then(
        self, words: str, *, module: nn.Module | None = None, onnx: bytes | None = None, **facts: Fact
    ) -> "Candidate":
        """Return the candidate that the step called `words` made of this one."""
        return replace(self, module=module, onnx=onnx, lineage=(*self.lineage, words), facts={**self.facts, **facts})

    def then_fact(self, **facts: Fact) -> "Candidate":
        """Return the candidate with more facts."""
        return replace(self, facts={**self.facts, **facts})
