"""docs/reference/scenarios.md names tests that exist, and every test that carries a scenario's number."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/reference/scenarios.md").read_text()
NAMED = re.compile(r"`(tests/\S+\.py)::(\w+)`")


def names_in(path: Path) -> list[str]:
    """Return the names of the tests in a file."""
    return re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)


def test_each_test_that_the_page_names_exists() -> None:
    lacking = [f"{file}::{name}" for file, name in NAMED.findall(PAGE) if name not in names_in(ROOT / file)]
    assert not lacking


def test_each_section_names_a_test_and_each_numbered_test_is_in_its_section() -> None:
    sections = {part[:3]: part for part in PAGE.split("\n## ")[1:]}
    assert [number for number, part in sections.items() if not NAMED.search(part)] == []
    numbered = re.compile(r"test_(s\d\d)_\w+")
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for name in filter(numbered.fullmatch, names_in(file)):
            assert f"::{name}`" in sections.get(name[5:8].upper(), ""), f"{file.name}::{name}"
