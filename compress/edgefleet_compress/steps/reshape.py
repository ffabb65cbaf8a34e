"""What the steps share that hold every weight in a form: snapped to an alphabet, or zero where a mask says so.

The form is a parametrization (torch.nn.utils.parametrize): training sees the weights in their form at each step, and
afterwards they are baked in.
"""

from collections.abc import Callable, Iterator
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..errors import RecipeError
from .step import Step

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_Pair = tuple[int, int]
Form = Callable[[str, nn.Module], nn.Module | None]
"""(name of the layer, layer) to what holds its weight in the form, or None to leave the layer alone."""


def weighted_layers(model: nn.Module, step: Step, keep: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """Yield each convolution and linear layer by name, but for those in `keep`; raise RecipeError for unknown names."""
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LAYERS)}
    if unknown := [name for name in keep if name not in layers]:
        raise RecipeError(f"step {step.name!r}: keep names {unknown}, and the layers with weights are {sorted(layers)}")
    if not layers:
        raise RecipeError(f"step {step.name!r}: the model has no convolution and no linear layer")
    yield from ((name, layer) for name, layer in layers.items() if name not in keep)


def hold(model: nn.Module, step: Step, keep: tuple[str, ...], form: Form) -> list[str]:
    """Put the weights of `model` into their form, in place; return the names of the layers that took one."""
    held = []
    for name, layer in list(weighted_layers(model, step, keep)):
        if (how := form(name, layer)) is not None:
            parametrize.register_parametrization(layer, "weight", how)
            held.append(name)
    return held


def bake(model: nn.Module) -> None:
    """Make plain weights of the held ones: they stay in the form."""
    for layer in list(model.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def weight_of(layer: nn.Module) -> Tensor:
    """Return the layer's weight, outputs first."""
    return cast(Tensor, layer.weight)


def replace_layer(model: nn.Module, name: str, new: nn.Module) -> None:
    """Put `new` where the layer called `name` is."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, new)


def window_of(layer: nn.Conv2d, channels_out: int, groups: int) -> nn.Conv2d:
    """Return a fresh convolution without bias that moves over its input as `layer` does."""
    return nn.Conv2d(
        layer.in_channels,
        channels_out,
        cast(_Pair, layer.kernel_size),
        cast(_Pair, layer.stride),
        cast(_Pair, layer.padding),
        cast(_Pair, layer.dilation),
        groups,
        bias=False,
        padding_mode=cast(Any, layer.padding_mode),
    )
