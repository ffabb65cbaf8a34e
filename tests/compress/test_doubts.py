"""What a person should know before believing the figures is said, and said where it is read."""

import tomllib

from edgefleet_compress import doubts, recipe


def test_a_feature_that_no_class_has_is_warned_of_with_those_that_there_are() -> None:
    text = '[[variant]]\nname = "v"\nfeatures = ["asimddp", "avx99"]\nsteps = []\n'
    (warning,) = doubts.of_recipes(recipe.parse(tomllib.loads(text)))
    assert "'avx99'" in warning and "asimddp, asimdhp, avx2" in warning
