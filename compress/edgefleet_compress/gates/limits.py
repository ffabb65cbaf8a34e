"""What a variant may lose. The table `[gates]` of a recipe file; every field has a default."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import RecipeError


@dataclass(frozen=True)
class Limits:
    """Points are hundredths of the metric."""

    lose_points: float = 2.0
    """Against the original, on the same samples. At `confidence`, no more must be shown, not merely seen."""
    lose_class_points: float = 5.0
    """Of any one class's accuracy. Refused where more is seen and chance does not explain it."""
    flips_percent: float = 10.0
    """Share of samples whose answer is another one than the original's, to the better or the worse."""
    confidence: float = 0.95
    """One-sided."""
    refuse: bool = True
    """False: a variant that fails stays in the package, and the report warns of it."""


def parse_limits(table: Any) -> Limits:
    """Return the limits of a `[gates]` table; raise RecipeError, naming what there is, for one that cannot be."""
    if not isinstance(table, Mapping):
        raise RecipeError("write the gates as a table: [gates]")
    known = {field.name: field.type for field in fields(Limits)}
    if unknown := sorted(set(table) - set(known)):
        raise RecipeError(f"[gates] has no setting {unknown[0]!r}; there are {', '.join(known)}")
    for name, value in table.items():
        wants_flag = name == "refuse"
        if isinstance(value, bool) != wants_flag or not isinstance(value, bool | int | float):
            raise RecipeError(f"[gates]: {name} is {'true or false' if wants_flag else 'a number'}, not {value!r}")
    limits = Limits(**table)
    if not 0.5 <= limits.confidence < 1:
        raise RecipeError(f"[gates]: confidence is at least 0.5 and below 1, not {limits.confidence!r}")
    for name in ("lose_points", "lose_class_points", "flips_percent"):
        if not 0 <= getattr(limits, name) <= 100:
            raise RecipeError(f"[gates]: {name} is 0 to 100, not {getattr(limits, name)!r}")
    return limits
