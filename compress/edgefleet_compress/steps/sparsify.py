"""Single weights to zero, wherever they are smallest or N of every M: bytes on the wire, and no speed on these processors.

No kernel of onnxruntime on a Cortex-A skips zeros. TensorRT on Orin does for 2:4. Elsewhere this step only makes the
download smaller; `prune` is what makes a model faster.
"""

import re
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
from .reshape import bake, hold, weight_of, weighted_layers
from .step import Context, require

_N_OF_M = re.compile(r"^([1-9]):([2-9]|16)\Z")


@dataclass(frozen=True)
class Sparsify:
    """Set the smallest weights of the whole model, or all but N of every M inputs, to zero, and recover.

    Preserves the channels. What comes after keeps the zeros: int8 with a symmetric range has an exact zero, which `quantize_static` checks.
    """

    name: ClassVar[str] = "sparsify"
    takes: ClassVar[str] = "module"

    ratio: float = 0.5
    """Share of the weights that become zero; with a pattern, the pattern says it."""
    pattern: str = ""
    """Empty for anywhere, or `2:4`: two weights stay of every four along the input channels."""
    recover: Finetune | Distill = field(default_factory=lambda: Distill(epochs=2))
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        found = _N_OF_M.match(self.pattern)
        rules = {
            "ratio": (0 < self.ratio < 1, "between 0 and 1"),
            "pattern": (
                not self.pattern or (found is not None and int(found[1]) < int(found[2])),
                "empty or N:M, N below M",
            ),
        }
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`2:4 zeros + distill 2 epochs`, `50 % zeros + …`."""
        return f"{self.pattern or f'{self.ratio:.0%}'.replace('%', ' %')} zeros + {self.recover.words}"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the candidate with its zeros; its fact `zeros` is their share of the weights."""
        model = candidate.copy_of_module(self.name)
        limit = 0.0 if self.pattern else self._limit(model)
        held = hold(model, self, self.keep, lambda _, layer: self._mask(weight_of(layer).detach(), limit))
        if not held:
            raise RecipeError(
                f"step 'sparsify': no layer's inputs come in groups for {self.pattern}; leave the pattern out"
            )
        self.recover.train(model, workload, context)
        bake(model)
        weights = [weight_of(layer) for _, layer in weighted_layers(model, self, ())]
        zeros = sum(int((weight == 0).sum()) for weight in weights) / sum(weight.numel() for weight in weights)
        validation = evaluate(model, workload, workload.validation)
        return candidate.then(self.words, module=model, validation=validation, zeros=round(zeros, 4))

    def _limit(self, model: nn.Module) -> float:
        """Return the size below which a weight goes, over all layers."""
        sizes = torch.cat(
            [weight_of(layer).detach().abs().flatten() for _, layer in weighted_layers(model, self, self.keep)]
        )
        return float(sizes.kthvalue(max(1, int(self.ratio * len(sizes)))).values)

    def _mask(self, weight: Tensor, limit: float) -> "_Mask | None":
        if not self.pattern:
            return _Mask((weight.abs() > limit).to(weight.dtype))
        stay, group = (int(part) for part in self.pattern.split(":"))
        if weight.shape[1] % group:
            return None  # a stem with one or three inputs, a depthwise layer
        last = weight.movedim(1, -1)
        groups = last.reshape(*last.shape[:-1], -1, group)
        mask = torch.zeros_like(groups).scatter_(-1, groups.abs().topk(stay, -1).indices, 1.0)
        return _Mask(mask.reshape(last.shape).movedim(-1, 1))


class _Mask(nn.Module):
    """Keeps zero what the mask says, all through training."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in, …) to the same shape."""
        mask: Tensor = self.mask  # type: ignore[assignment]
        return weight * mask

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The weight that training goes on with is the one before."""
        return weight
