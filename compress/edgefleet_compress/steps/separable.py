"""Convolutions as depthwise ones and a 1x1 each: the efficient form of MobileNet, fitted block by block to what was there."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..candidate import Candidate
from ..errors import RecipeError
from ..training import channels_last, evaluate, recover_batchnorm
from ..workload import Workload
from .distill import Distill
from .finetune import Finetune
from .reshape import replace_layer, weighted_layers, window_of
from .step import Context, require


@dataclass(frozen=True)
class Separable:
    """Replace k x k convolutions, fit each to its predecessor's answers, and recover the whole.

    The start is the best product form in the least-squares sense, by a singular value decomposition for each input channel.
    Preserves the channels of the steps before, not their zeros or letters: put it first.
    """

    name: ClassVar[str] = "separable"
    takes: ClassVar[str] = "module"

    fit_steps: int = 100
    """Batches for which each new block learns from the layer that it replaces."""
    fit_rate: float = 0.002
    recover: Finetune | Distill = field(default_factory=lambda: Distill(epochs=4))
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rules = {"fit_steps": (self.fit_steps >= 0, "0 or more"), "fit_rate": (self.fit_rate > 0, "above 0")}
        require(self.name, rules)

    @property
    def words(self) -> str:
        """`separable + distill 4 epochs`."""
        return f"separable + {self.recover.words}"

    def apply(self, candidate: Candidate, workload: Workload, context: Context) -> Candidate:
        """Return the rewritten candidate; raise RecipeError when it has no convolution to rewrite."""
        model = candidate.copy_of_module(self.name)
        whole = candidate.copy_of_module(self.name).eval()
        names = [
            name
            for name, layer in weighted_layers(model, self, self.keep)
            if isinstance(layer, nn.Conv2d)
            and layer.groups == 1
            and max(layer.kernel_size) > 1
            and layer.in_channels > 1
        ]
        if not names:
            raise RecipeError("step 'separable': the model has no convolution wider than 1x1 with several inputs")
        error = 0.0
        for name in names:
            layer = whole.get_submodule(name)
            assert isinstance(layer, nn.Conv2d)
            block = product_form(layer)
            error = max(error, self._fit(block, name, whole, workload, context))
            replace_layer(model, name, block)
        recover_batchnorm(model, workload)
        self.recover.train(model, workload, context)
        validation = evaluate(model, workload, workload.validation)
        return candidate.then(
            self.words, module=model, validation=validation, layers_rewritten=len(names), worst_fit=round(error, 4)
        )

    def _fit(self, block: nn.Module, name: str, whole: nn.Module, workload: Workload, context: Context) -> float:
        """Train `block` towards the answers of the layer that it replaces; return the share of their energy it misses."""
        generator = torch.Generator().manual_seed(context.seed)
        optimizer = torch.optim.Adam(block.parameters(), self.fit_rate)
        missed = 1.0
        for number in range(self.fit_steps + 1):
            rows = torch.randint(0, len(workload.train), (64,), generator=generator)
            seen, answered = _around(whole, name, workload.train.inputs[rows])
            loss = functional.mse_loss(block(seen), answered)
            missed = float(loss.detach() / answered.var().clamp_min(1e-12))
            if number < self.fit_steps:
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        return missed


def product_form(layer: nn.Conv2d) -> nn.Sequential:
    """Return a depthwise convolution and a 1x1 that come nearest to `layer`."""
    depthwise = window_of(layer, layer.in_channels, layer.in_channels)
    pointwise = nn.Conv2d(layer.in_channels, layer.out_channels, 1, bias=layer.bias is not None)
    with torch.no_grad():
        for channel in range(layer.in_channels):
            u, s, v = torch.linalg.svd(layer.weight[:, channel].flatten(1), full_matrices=False)
            depthwise.weight[channel, 0] = (v[0] * s[0].sqrt()).reshape(layer.kernel_size)
            pointwise.weight[:, channel, 0, 0] = u[:, 0] * s[0].sqrt()
        if layer.bias is not None and pointwise.bias is not None:
            pointwise.bias.copy_(layer.bias)
    return nn.Sequential(depthwise, pointwise)


def _around(whole: nn.Module, name: str, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the layer called `name` sees and answers for `inputs`."""
    caught: list[tuple[Tensor, Tensor]] = []

    def catch(_: nn.Module, seen: tuple[Tensor, ...], answered: Tensor) -> None:
        caught.append((seen[0], answered))

    handle = whole.get_submodule(name).register_forward_hook(catch)
    with torch.no_grad():
        whole(channels_last(inputs))
    handle.remove()
    return caught[0]
