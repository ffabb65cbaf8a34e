"""One version: in every distribution, in every `__version__`, admitted by every sibling's range, at the top of the changelog."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib  # type: ignore[no-redef,import-not-found,unused-ignore]

ROOT = Path(__file__).parents[1]
PROJECTS = sorted((*ROOT.glob("*/pyproject.toml"), ROOT / "pyproject.toml"))
MODULES = sorted(ROOT.glob("*/edgefleet*/__init__.py"))


def project(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8"))["project"]


VERSION = project(ROOT / "protocol" / "pyproject.toml")["version"]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", PROJECTS, ids=name_of)
def test_every_distribution_has_the_one_version(path):
    assert project(path)["version"] == VERSION


def test_every_room_has_a_module_with_a_version():
    rooms = {path.parent for path in ROOT.glob("*/pyproject.toml")}
    assert {path.parents[1] for path in MODULES if "__version__" in path.read_text(encoding="utf-8")} == rooms


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_the_one_version(path):
    said = re.findall(r'^__version__ = "([^"]+)"$', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert said == [VERSION]


def requirements(path: Path) -> list[Requirement]:
    data = project(path)
    lines = [
        *data.get("dependencies", []),
        *(line for some in data.get("optional-dependencies", {}).values() for line in some),
    ]
    return [Requirement(line) for line in lines]


OURS = {project(path)["name"] for path in PROJECTS}


@pytest.mark.parametrize("path", PROJECTS, ids=name_of)
def test_every_sibling_admits_the_one_version_and_has_an_upper_end(path):
    for requirement in requirements(path):
        if requirement.name not in OURS or requirement.name in ("edgefleet", project(path)["name"]):
            continue
        assert requirement.specifier.contains(Version(VERSION)), requirement
        assert any(part.operator in ("<", "==", "~=") for part in requirement.specifier), requirement
        assert any(part.operator in (">=", "==", "~=") for part in requirement.specifier), requirement


def test_the_changelog_begins_with_the_one_version():
    headings = re.findall(
        r"^## \[?(?:v)?([0-9][^\]\s]*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert headings
    assert headings[0] == VERSION
