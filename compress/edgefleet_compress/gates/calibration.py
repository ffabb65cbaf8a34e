"""The calibration gate: ranges measured on few samples are chance, and what they cost is seen only in the field."""

from ..recipe import Recipes
from ..workload import Workload

ENOUGH = 100
"""Halved accuracy was seen with ten or twenty samples; above a hundred, ranges hardly move any more."""


def few_samples(workload: Workload, recipes: Recipes) -> list[str]:
    """Return a warning for each variant whose int8 ranges come from fewer than ENOUGH samples."""
    found = []
    for recipe in recipes.variants:
        for step in recipe.steps:
            if (asked := getattr(step, "samples", None)) is None or not step.name.startswith("quantize"):
                continue
            if (count := min(int(asked), len(workload.calibration_inputs))) < ENOUGH:
                found.append(
                    f"variant {recipe.name!r} measures its ranges on {count} calibration samples; below {ENOUGH} they are "
                    "left to chance. Give the workload more, and raise `samples`"
                )
    return found
