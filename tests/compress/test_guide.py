"""The guide to one's own model names every field and setting with its default, and its examples run as they stand."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgefleet_compress import recipe, workload
from edgefleet_compress.commands import main
from edgefleet_compress.steps import STEPS, step_class
from edgefleet_compress.workload import InputSpec, OutputSpec, Split, Workload

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "workload.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
WORKLOADS = [text for kind, text in BLOCKS if kind == "python" and "def workload()" in text]
(TOML,) = (text for kind, text in BLOCKS if kind == "toml")
(PYTHON,) = (text for kind, text in BLOCKS if kind == "python" and "recipes = " in text)


def section(heading: str) -> str:
    """Return the text below a heading, up to the next."""
    start = PAGE.index(f"\n### {heading}\n")
    return PAGE[start : PAGE.index("\n#", start + 5)]


@pytest.mark.parametrize(("kind", "heading"), [(Workload, "`Workload`"), (Split, "`Split`")])
def test_every_field_is_explained_and_no_other(kind: Any, heading: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", section(heading), re.MULTILINE)
    assert rows == [field.name for field in dataclasses.fields(kind)]


def test_every_field_of_the_interface_is_explained_and_no_other() -> None:
    text = section("`InputSpec` and `OutputSpec`")
    rows = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert rows == [field.name for kind in (InputSpec, OutputSpec) for field in msgspec.structs.fields(kind)]
    assert all(f"`{name}`" in text for name in workload.TORCH_TYPES)


@pytest.mark.parametrize("name", STEPS)
def test_every_setting_of_a_step_is_explained_with_its_default(name: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section(f"`{name}`"), re.MULTILINE))
    step = step_class(name)()
    settings = {field.name: getattr(step, field.name) for field in dataclasses.fields(step)}  # type: ignore[arg-type]
    assert list(rows) == list(settings)
    for setting, value in settings.items():
        if isinstance(value, bool | str):
            assert rows[setting] == str(value).lower()
        elif isinstance(value, int | float):
            assert float(rows[setting]) == value
        else:
            assert rows[setting] == (value.name if value else "none")


def test_what_is_done_unasked_is_said() -> None:
    assert "the step `export`" in PAGE and "the variant `fp32`" in PAGE and '`steps = ["tidy"]`' in PAGE


def test_the_recipes_in_toml_and_python_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(TOML)
    (tmp_path / "r.py").write_text(PYTHON)
    assert recipe.load(tmp_path / "r.toml") == recipe.load(tmp_path / "r.py")


@pytest.mark.parametrize("number", range(2))
def test_each_workload_on_the_page_becomes_a_package(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(WORKLOADS) == 2
    (tmp_path / "workload.py").write_text(WORKLOADS[number])
    (tmp_path / "recipes.toml").write_text(TOML)
    argv = [
        "run",
        str(tmp_path / "workload.py"),
        "--recipes",
        str(tmp_path / "recipes.toml"),
        "--out",
        str(tmp_path / "p"),
    ]
    assert main([*argv, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in said["variants"]] == ["fp32", "int8", "half"]
    assert said["warnings"] == [] or all("chance" not in text for text in said["warnings"])
