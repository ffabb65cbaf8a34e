"""Recipes: ordered lists of steps, from a TOML file or from Python.

    [original]
    steps = [{ step = "finetune", epochs = 10 }]

    [[variant]]
    name = "p30-distil-int8"
    steps = [{ step = "prune", ratio = 0.3 }, { step = "quantize_static" }]

Every variant begins with the original, which is what `[original]` makes of the workload's model (nothing, when the
workload brings a trained one). Where a recipe goes from torch to ONNX without naming `export`, the default export is
put there.
"""

import dataclasses
import importlib.util
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import tomllib

from .errors import RecipeError
from .gates.limits import Limits, parse_limits
from .steps import STEPS, Step, step_class

ORIGINAL = "fp32"
"""The variant that is the original, exported and otherwise untouched. It is in every package."""
CPU = "CPUExecutionProvider"
PROVIDERS = (CPU, "CUDAExecutionProvider", "TensorrtExecutionProvider")
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?\Z")


@dataclass(frozen=True)
class Recipe:
    """One variant, and the steps that make it of the original."""

    name: str
    steps: tuple[Step, ...]
    features: tuple[str, ...] = ()
    """Instruction sets that a device must have to be given this variant, by the kernel's names: `asimddp`."""
    provider: str = CPU
    """The execution provider that it is for, by onnxruntime's name."""


@dataclass(frozen=True)
class Recipes:
    """How the original is made, and each variant of it."""

    original: tuple[Step, ...]
    variants: tuple[Recipe, ...]
    gates: Limits = field(default_factory=Limits)
    """What a variant may lose."""


def load(path: Path) -> Recipes:
    """Return the recipes of a `.toml` file, or of a `.py` file that defines `recipes`; raise RecipeError otherwise."""
    if not path.is_file():
        raise RecipeError(f"{path}: there is no such file. `edgefleet compress example DIR` writes one to start from")
    try:
        if path.suffix == ".py":
            return _from_python(path)
        with path.open("rb") as file:
            return parse(tomllib.load(file))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def parse(document: Mapping[str, Any]) -> Recipes:
    """Return the recipes of a parsed TOML document."""
    if unknown := sorted(set(document) - {"original", "variant", "gates"}):
        raise RecipeError(f"there is no table {unknown[0]!r}; there are [original], [[variant]] and [gates]")
    original = document.get("original", {})
    variants = document.get("variant", [])
    if not isinstance(original, Mapping) or not isinstance(variants, list):
        raise RecipeError("write one [original] and any number of [[variant]]")
    recipes = tuple(_variant(entry) for entry in variants)
    return arrange(
        Recipes(_steps(original.get("steps", []), "the original"), recipes, parse_limits(document.get("gates", {})))
    )


def arrange(recipes: Recipes) -> Recipes:
    """Return the recipes with the original as a variant and each border crossed by an export; refuse what cannot work."""
    for step in recipes.original:
        if step.takes != "module":
            raise RecipeError(
                f"the original cannot have the step {step.name!r}: it stays a torch module, to learn from"
            )
    variants = recipes.variants
    if not any(recipe.name == ORIGINAL for recipe in variants):
        variants = (Recipe(ORIGINAL, ()), *variants)
    seen: set[str] = set()
    for recipe in variants:
        if not _NAME.match(recipe.name):
            raise RecipeError(f"{recipe.name!r} cannot name a variant: use a-z, 0-9, '.', '_' and '-'")
        if recipe.name in seen:
            raise RecipeError(f"two variants are called {recipe.name!r}")
        seen.add(recipe.name)
    crossed = tuple(dataclasses.replace(recipe, steps=_cross(recipe)) for recipe in variants)
    return dataclasses.replace(recipes, variants=crossed)


def _cross(recipe: Recipe) -> tuple[Step, ...]:
    """Return the steps with an export at the border; raise RecipeError when a step stands on the wrong side of it."""
    export = step_class("export")
    done: list[Step] = []
    crossed = False
    for step in recipe.steps:
        if step.takes == "module" and crossed:
            raise RecipeError(
                f"variant {recipe.name!r}: {step.name!r} works on a torch module and stands behind the export"
            )
        if step.takes == "onnx" and not crossed:
            done.append(export())
            crossed = True
        crossed = crossed or step.name == "export"
        done.append(step)
    return tuple(done) if crossed else (*done, export())


def _variant(entry: Any) -> Recipe:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise RecipeError("each [[variant]] needs a `name`")
    if unknown := sorted(set(entry) - {"name", "steps", "features", "provider"}):
        raise RecipeError(
            f"variant {entry['name']!r} has no setting {unknown[0]!r}; there are name, steps, features and provider"
        )
    where = f"variant {entry['name']!r}"
    features: tuple[str, ...] = _value(entry.get("features", []), tuple[str, ...], f"{where}: features")
    provider = entry.get("provider", CPU)
    if provider not in PROVIDERS:
        raise RecipeError(f"{where}: provider must be one of {', '.join(PROVIDERS)}, not {provider!r}")
    return Recipe(entry["name"], _steps(entry.get("steps", []), where), features, provider)


def _steps(entries: Any, where: str) -> tuple[Step, ...]:
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise RecipeError(f'{where}: steps is a list, as in steps = [{{ step = "prune", ratio = 0.3 }}]')
    return tuple(make_step(entry, where) for entry in entries)


def make_step(entry: Any, where: str) -> Step:
    """Return the step that `{step = NAME, SETTING = VALUE, …}` describes."""
    if isinstance(entry, str):
        entry = {"step": entry}
    if not isinstance(entry, Mapping) or "step" not in entry:
        raise RecipeError(f"{where}: {entry!r} is no step; write {{ step = NAME, SETTING = VALUE }}")
    name = entry["step"]
    if name not in STEPS:
        raise RecipeError(f"{where}: there is no step {name!r}. There are: {', '.join(STEPS)}")
    kind = step_class(name)
    types_of = get_type_hints(kind)
    fields = {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    settings = {}
    for key, value in entry.items():
        if key == "step":
            continue
        if key not in fields:
            raise RecipeError(
                f"{where}: step {name!r} has no setting {key!r}. There are: {', '.join(sorted(fields)) or 'none'}"
            )
        settings[key] = _value(value, types_of[key], f"{where}: step {name!r}: {key}")
    try:
        return kind(**settings)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error


def _value(value: Any, kind: Any, where: str) -> Any:
    """Return `value` as the field's type wants it; raise RecipeError when it is of another."""
    choices = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    if all(hasattr(choice, "takes") for choice in choices):
        step = make_step(value, where)
        if not isinstance(step, choices):
            raise RecipeError(f"{where} takes one of: {', '.join(choice.name for choice in choices)}")
        return step
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise RecipeError(f"{where} must be one of {', '.join(get_args(kind))}, not {value!r}")
    if get_origin(kind) is tuple:
        if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
            raise RecipeError(f"{where} is a list of names, not {value!r}")
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind in (int, float, bool, str) and type(value) is not kind:
        raise RecipeError(f"{where} is a {kind.__name__}, not {value!r}")
    return value


def _from_python(path: Path) -> Recipes:
    spec = importlib.util.spec_from_file_location("edgefleet_recipes", path)
    assert spec is not None and spec.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(f"it cannot be imported: {type(error).__name__}: {error}") from error
    recipes = getattr(module, "recipes", None)
    if not isinstance(recipes, Recipes):
        raise RecipeError("it defines no `recipes` of the type Recipes")
    return arrange(recipes)
