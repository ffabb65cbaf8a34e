"""Boards: the page says what the files say, and a team adds its own with one file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefleet_compress import targets as boards
from edgefleet_compress.commands import main
from edgefleet_compress.commands_boards import support_table
from edgefleet_compress.errors import RecipeError
from edgefleet_compress.targets import targets, use_folder
from edgefleet_compress.targets.systems import NEWEST, OPENS, System
from tests.compress.conftest import RECIPES, TINY

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "boards.md"


@pytest.fixture(autouse=True)
def no_boards_of_others() -> Iterator[None]:
    yield
    boards._own.clear()
    targets.cache_clear()


def example(tmp_path: Path) -> Path:
    """The file that the page shows."""
    found = re.search(r"```toml\n# boards/(\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / found[1]).write_text(found[2])
    return tmp_path / found[1]


def test_the_page_holds_the_table_that_the_command_prints() -> None:
    assert support_table() in PAGE.read_text()
    assert all(target.systems for target in targets()) and {version for _, version in NEWEST} == set(OPENS)


def test_the_agent_runs_where_python_and_wheels_are_new_enough() -> None:
    assert System("a", "3.11", "2.36").obstacle == "" and System("a", "3.10", "2.35").runtime == "1.23.2"
    assert "needs 3.10" in System("a", "3.8", "2.31").obstacle and System("a", "3.8", "2.31").runtime == "1.19.2"
    assert "wheels need 2.28" in System("a", "3.6", "2.27").obstacle and System("a", "3.13", "2.41").runtime == "1.32.0"
    assert System("a", "2.7", "2.36").runtime == ""


def test_one_file_adds_a_board_to_every_prediction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = example(tmp_path)
    assert main(["boards", "--targets", str(file.parent)]) == 0
    assert "| radxa-x4 | Debian 12 | 3.11 | 1.32.0: IR 14, opset 28 | runs |" in capsys.readouterr().out
    recipes = tmp_path / "recipes.toml"
    recipes.write_text(RECIPES.read_text().split("[[variant]]")[0])
    folder = tmp_path / "boards"
    folder.mkdir()
    file.rename(folder / file.name)
    code = main(
        ["run", str(TINY), "--recipes", str(recipes), "--out", str(tmp_path / "p"), "--targets", str(folder), "--json"]
    )
    assert code == 0
    rows = json.loads(capsys.readouterr().out)["variants"][0]["latency"]
    assert any(row["hardware_class"] == "radxa-x4" and row["how"] == "predicted" for row in rows)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("board =", "bord ="), "there is no key 'bord'"),
        (("arch = ", "# arch = "), "the key 'arch' is missing"),
        (("24e9", "0"), "fp32_macs_per_s is a number above 0, not 0"),
        (("[", "("), "not TOML"),
        (("glibc", "libc"), "systems: there is no key 'libc'"),
    ],
)
def test_a_file_that_is_no_board_is_named_with_what_is_wrong(
    change: tuple[str, str], words: str, tmp_path: Path
) -> None:
    file = example(tmp_path)
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(RecipeError, match=re.escape(words)) as raised:
        use_folder(tmp_path)
    assert file.name in str(raised.value)
    assert len(targets()) == 12
    with pytest.raises(RecipeError, match="is no folder of boards"):
        use_folder(tmp_path / "none")
