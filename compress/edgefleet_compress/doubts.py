"""What a person should know before believing the figures. Warnings: nothing here ends a run."""

from collections.abc import Sequence

from .pipeline import Outcome
from .recipe import ORIGINAL, Recipes
from .targets import known_features
from .workload import Workload

CHANCE_FACTOR = 1.5
"""Below so many times what guessing has, an original is called near chance."""
STILL_RISING_POINTS = 1.0
"""What validation may gain in the last epoch, where the learning rate has fallen to nothing."""
BETTER_POINTS = 3.0
"""How much better than its original a variant may be: a little is chance, more is training that the original lacked."""


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


def of_outcome(workload: Workload, outcome: Outcome) -> Sequence[str]:
    """Return a warning for an original that is little better than chance, and for one that was not trained to its end."""
    made = {variant.name: variant for variant in outcome.made}
    original = made[ORIGINAL]
    accuracy = original.measures.accuracy
    found = []
    labels = len(workload.labels)
    if workload.task == "classification" and labels > 1 and accuracy * labels < CHANCE_FACTOR:
        found.append(
            f"the original is little better than chance: {workload.metric_name} {accuracy:.4f} over {labels} labels, of "
            f"which guessing has {1 / labels:.4f}. Train it for longer, or look at the data and the order of the labels; "
            "no variant of it is of use"
        )
    gain = float(original.candidate.facts.get("last_epoch_gain", 0))
    better = {name: 100 * (variant.measures.accuracy - accuracy) for name, variant in made.items()}
    best = max(better, key=lambda name: better[name])
    signs = []
    if 100 * gain > STILL_RISING_POINTS:
        signs.append(f"its validation {workload.metric_name} rose by {100 * gain:.2f} points in its last epoch")
    if better[best] > BETTER_POINTS:
        signs.append(f"{best} is {better[best]:.2f} points better than it")
    if signs:
        found.append(
            f"the original had not converged, so the losses shown flatter: {' and '.join(signs)}. Give [original] more "
            "epochs, or another learning rate"
        )
    return found
