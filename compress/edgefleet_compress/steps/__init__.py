"""The steps that a recipe may name. Each is one file, which alone imports the library that does its work."""

from importlib import import_module

from .step import Context, Step

__all__ = ["STEPS", "Context", "Step", "step_class"]

# Loaded when first named, so that reading a recipe does not load what it does not use.
STEPS = {
    "finetune": ("finetune", "Finetune"),
    "distill": ("distill", "Distill"),
    "separable": ("separable", "Separable"),
    "low_rank": ("low_rank", "LowRank"),
    "swap_activations": ("swap_activations", "SwapActivations"),
    "prune": ("prune", "Prune"),
    "sparsify": ("sparsify", "Sparsify"),
    "alphabet": ("alphabet", "Alphabet"),
    "aware": ("aware", "Aware"),
    "export": ("export", "Export"),
    "equalize": ("equalize", "Equalize"),
    "quantize_static": ("quantize_static", "QuantizeStatic"),
    "quantize_mixed": ("quantize_mixed", "QuantizeMixed"),
    "quantize_dynamic": ("quantize_dynamic", "QuantizeDynamic"),
    "quantize_weights": ("quantize_weights", "QuantizeWeights"),
    "half": ("half", "Half"),
    "tidy": ("tidy", "Tidy"),
}


def step_class(name: str) -> type[Step]:
    """Return the class of the step called `name`; raise KeyError when there is none."""
    module, cls = STEPS[name]
    found: type[Step] = getattr(import_module(f".{module}", __package__), cls)
    return found
