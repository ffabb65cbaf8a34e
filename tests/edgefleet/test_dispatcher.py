"""`edgefleet NOUN VERB`: hands over to the part that is asked for and to no other, and helps when it is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgefleet import __version__
from edgefleet.main import NOUNS

ROOT = Path(__file__).parents[2]

PART = """
import sys
def main(argv):
    print({name!r}, *argv)
    print(*[m for m in ("tool_one", "tool_two") if m in sys.modules])
    return {code}
"""


@pytest.fixture
def installed(tmp_path):
    """A place with the command alone and whatever parts a test installs; `run` is the command there."""
    return Place(tmp_path)


class Place:
    """A folder that a Python without site-packages imports from: the command, and distributions made on the spot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, noun: str, module: str, *, code: int = 0, source: str | None = None) -> None:
        """Add a distribution that brings `noun`, as pip would leave it."""
        (self.folder / f"{module}.py").write_text(PART.format(name=module, code=code) if source is None else source)
        info = self.folder / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[edgefleet.commands]\n{noun} = {module}:main\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command; no other distribution can be seen."""
        path = os.pathsep.join((str(ROOT / "edgefleet"), str(self.folder)))
        return subprocess.run(
            [sys.executable, "-S", "-m", "edgefleet", *arguments],
            capture_output=True, text=True, check=False, cwd=self.folder, env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip


def test_a_noun_gets_the_rest_of_the_line_and_its_code_is_the_exit_code(installed):
    installed.install("agent", "tool_one", code=7)
    done = installed.run("agent", "explain", "--json", "--config=x y")
    assert done.stdout.splitlines()[0] == "tool_one explain --json --config=x y"
    assert done.returncode == 7


def test_only_the_part_that_is_asked_for_is_loaded(installed):
    installed.install("agent", "tool_one")
    installed.install("server", "tool_two", source="raise RuntimeError('loaded')")
    done = installed.run("agent", "status")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "tool_one"


def test_neither_help_nor_version_loads_a_part(installed):
    for noun in NOUNS:
        installed.install(noun, f"broken_{noun}", source="raise RuntimeError('loaded')")
    for arguments in (("--help",), ("-h",), ("--version",), ("unknown",)):
        assert "loaded" not in installed.run(*arguments).stderr


@pytest.mark.parametrize("noun", NOUNS)
def test_a_part_that_is_missing_is_answered_with_the_line_that_installs_it(noun, installed):
    done = installed.run(noun, "anything")
    assert done.returncode == 2
    assert done.stdout == ""
    assert f"edgefleet {noun}: the part is not installed" in done.stderr
    assert f"pip install 'edgefleet[{NOUNS[noun][0]}]'" in done.stderr


def test_a_noun_that_is_not_known_is_answered_with_those_that_are(installed):
    done = installed.run("fleet", "list")
    assert done.returncode == 2
    assert "there is no 'fleet'" in done.stderr
    assert all(noun in done.stderr for noun in NOUNS)


def test_help_names_every_noun(installed):
    done = installed.run("--help")
    assert done.returncode == 0
    assert all(f"  {noun} " in done.stdout for noun in NOUNS)


def test_nothing_asked_is_answered_with_help_and_counts_as_misuse(installed):
    done = installed.run()
    assert done.returncode == 2
    assert "usage: edgefleet" in done.stdout


def test_the_version_is_printed(installed):
    assert installed.run("--version").stdout.strip() == __version__


def test_every_extra_that_is_advised_exists():
    extras = (ROOT / "edgefleet" / "pyproject.toml").read_text(encoding="utf-8")
    for part in {part for part, _ in NOUNS.values()}:
        assert f"\n{part} = [" in extras


def test_every_noun_that_is_named_is_brought_by_its_part():
    brought = {}
    for path in ROOT.glob("*/pyproject.toml"):
        text = path.read_text(encoding="utf-8")
        if '[project.entry-points."edgefleet.commands"]' in text:
            block = text.split('[project.entry-points."edgefleet.commands"]')[1].split("\n[")[0]
            brought |= {line.split("=")[0].strip(): path.parent.name for line in block.splitlines() if "=" in line}
    assert brought == {noun: part for noun, (part, _) in NOUNS.items()}


def test_an_interrupt_while_a_part_is_imported_ends_without_a_traceback(installed):
    installed.install("agent", "tool_one", source="raise KeyboardInterrupt")
    done = installed.run("agent", "run")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
