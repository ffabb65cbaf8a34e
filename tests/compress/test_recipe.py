"""Recipes say what they mean, and a mistake in one is answered with what there is."""

from pathlib import Path

import pytest
import tomllib

from edgefleet_compress import recipe
from edgefleet_compress.errors import RecipeError
from edgefleet_compress.steps import STEPS, step_class
from edgefleet_compress.steps.finetune import Finetune
from edgefleet_compress.steps.prune import Prune
from tests.compress.conftest import RECIPES


def parse(text: str) -> recipe.Recipes:
    return recipe.parse(tomllib.loads(text))


def variant(steps: str, name: str = "v") -> str:
    return f'[[variant]]\nname = "{name}"\nsteps = [{steps}]\n'


def test_a_recipe_becomes_frozen_steps_with_their_settings() -> None:
    recipes = parse(
        variant('{step = "prune", ratio = 0.4, keep = ["stem.0"], recover = {step = "finetune", epochs = 2}}')
    )
    prune = recipes.variants[1].steps[0]
    assert prune == Prune(ratio=0.4, keep=("stem.0",), recover=Finetune(epochs=2))


def test_the_original_is_always_a_variant_and_every_variant_is_exported() -> None:
    recipes = parse(variant('{step = "quantize_static"}'))
    assert [entry.name for entry in recipes.variants] == ["fp32", "v"]
    assert [step.name for step in recipes.variants[0].steps] == ["export"]
    assert [step.name for step in recipes.variants[1].steps] == ["export", "quantize_static"]


def test_an_export_of_ones_own_is_not_doubled() -> None:
    steps = parse(variant('{step = "export", opset = 15}, "tidy"')).variants[1].steps
    assert [step.name for step in steps] == ["export", "tidy"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (variant('{step = "shrink"}'), "no step 'shrink'. There are: finetune, distill, separable, low_rank"),
        (
            variant('{step = "prune", rate = 1}'),
            "no setting 'rate'. There are: attempts, criterion, keep, lower_by, ratio",
        ),
        (variant('{step = "prune", ratio = 1.5}'), "ratio must be between 0 and 1"),
        (variant('{step = "prune", ratio = "much"}'), "ratio is a float, not 'much'"),
        (variant('{step = "finetune", epochs = 0}'), "epochs must be 1 or more"),
        (variant('{step = "finetune", epochs = true}'), "epochs is a int, not True"),
        (
            variant('{step = "quantize_static", method = "guess"}'),
            "method must be one of minmax, percentile, entropy, mse, not 'guess'",
        ),
        (variant('{step = "prune", recover = {step = "tidy"}}'), "recover takes one of: finetune, distill"),
        (
            variant('{step = "export"}, {step = "prune"}'),
            "'prune' works on a torch module and stands behind the export",
        ),
        (variant('{step = "quantize_static"}, {step = "export"}'), "'export' works on a torch module"),
        (variant("3"), "is no step"),
        (variant("", "Bad Name"), "cannot name a variant"),
        (variant("") + variant(""), "two variants are called 'v'"),
        ("[[variants]]\nname = 'v'\n", "no table 'variants'"),
        ("[[variant]]\nsteps = []\n", "needs a `name`"),
        ("[[variant]]\nname = 'v'\nstep = []\n", "no setting 'step'"),
        ('[original]\nsteps = [{step = "tidy"}]\n', "original cannot have the step 'tidy'"),
    ],
)
def test_a_mistake_is_answered_with_what_there_is(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        parse(text)


def test_a_recipe_of_python_is_the_same_as_one_of_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipes.py"
    path.write_text(
        "from edgefleet_compress.gates.limits import Limits\n"
        "from edgefleet_compress.recipe import Recipe, Recipes\n"
        "from edgefleet_compress.steps.distill import Distill\n"
        "from edgefleet_compress.steps.finetune import Finetune\n"
        "from edgefleet_compress.steps.prune import Prune\n"
        "from edgefleet_compress.steps.quantize_static import QuantizeStatic\n"
        "from edgefleet_compress.steps.tidy import Tidy\n"
        "prune = Prune(ratio=0.5, tolerance_points=100, recover=Distill(epochs=1))\n"
        "int8 = (QuantizeStatic(samples=64), Tidy())\n"
        "recipes = Recipes((Finetune(epochs=1, learning_rate=0.1),), (\n"
        "    Recipe('int8', int8), Recipe('p50', (prune,)), Recipe('p50-int8', (prune, *int8), ('asimddp',))),\n"
        "    Limits(lose_points=100, lose_class_points=100, flips_percent=100))\n"
    )
    assert recipe.load(path) == recipe.load(RECIPES)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "recipes.toml"
    path.write_text("[[variant")
    with pytest.raises(RecipeError, match=r"recipes\.toml: not TOML"):
        recipe.load(path)


def test_every_step_says_its_name_its_side_and_its_words() -> None:
    for name in STEPS:
        step = step_class(name)()
        assert step.name == name and step.takes in ("module", "onnx") and step.words
