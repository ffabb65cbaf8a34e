"""Recipes as the TOML that `recipe.load` reads: what a search found is a file that a person can go on with."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from ..recipe import CPU, Recipe
from ..steps import Step


def recipes_text(original: Sequence[Step], variants: Sequence[Recipe], comment: str = "") -> str:
    """Return the file's text; settings that have their default are left out."""
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    if original:
        lines += ["[original]", f"steps = [{', '.join(map(step_text, original))}]", ""]
    for recipe in variants:
        lines += ["[[variant]]", f"name = {json.dumps(recipe.name)}"]
        if recipe.features:
            lines.append(f"features = {_value(recipe.features)}")
        if recipe.provider != CPU:
            lines.append(f"provider = {json.dumps(recipe.provider)}")
        lines += ["steps = [", *(f"    {step_text(step)}," for step in recipe.steps), "]", ""]
    return "\n".join(lines)


def step_text(step: Step) -> str:
    """Return `{ step = "prune", ratio = 0.3 }`, or `"tidy"` where nothing is set."""
    plain = type(step)()
    settings = [
        f"{field.name} = {_value(getattr(step, field.name))}"
        for field in dataclasses.fields(step)  # type: ignore[arg-type]
        if getattr(step, field.name) != getattr(plain, field.name)
    ]
    if not settings:
        return json.dumps(step.name)
    return f"{{ {', '.join((f'step = {json.dumps(step.name)}', *settings))} }}"


def _value(value: Any) -> str:
    if hasattr(value, "takes"):
        text = step_text(value)
        return text if text.startswith("{") else f"{{ step = {text} }}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value)
