"""What a person should know before believing the figures. Warnings: nothing here ends a run."""

from collections.abc import Sequence

from .recipe import Recipes
from .targets import known_features


def of_recipes(recipes: Recipes) -> Sequence[str]:
    """Return a warning for each feature that no known class of hardware has: most often a slip of the pen."""
    known = known_features()
    return [
        f"variant {recipe.name!r} asks for the feature {feature!r}, which no known class of hardware has, so perhaps no "
        f"device will be given it. Known: {', '.join(known)}"
        for recipe in recipes.variants
        for feature in recipe.features
        if feature not in known
    ]
