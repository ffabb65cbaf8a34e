"""docs/security.md names attacks and tests: each is there, and each attack is named."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/security.md").read_text()
ATTACKS = {int(path.name[7:9]) for path in (ROOT / "tests/attacks").glob("attack_*.py")}


def test_every_attack_has_a_row_and_every_row_an_attack():
    rows = {int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert rows == ATTACKS


def test_the_threats_name_attacks_that_there_are():
    found = re.findall(r"attacks? (\d+)(?: to (\d+))?((?:, \d+)*)(?: and (\d+))?", PAGE)
    named = {int(number) for row in found for part in row for number in re.findall(r"\d+", part)}
    assert named <= ATTACKS and len(named) > 15


def test_every_test_that_is_named_is_there():
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert named
    for file, test in named:
        text = (ROOT / file).read_text()
        assert not test or f"def {test}(" in text, f"{file} has no {test}"
