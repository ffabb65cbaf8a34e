"""The guide for two people, typed as it stands."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from edgefleet_trust.cli import utc_now
from edgefleet_trust.commands import main as trust
from edgefleet_trust.release_commands import main as release
from edgefleet_trust.repository import Repository
from edgefleet_trust.status import read_status
from tests.fakes.package import make_package

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/two-holders.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_guide_for_two_people_works_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process: thirty interpreters would take a minute. Shell is no more than `cp` and these two commands."""
    monkeypatch.chdir(tmp_path)
    Path("passphrase").touch(0o600)
    Path("passphrase").write_text("four words are enough\n")
    monkeypatch.setenv("EDGEFLEET_PASSPHRASE_FILE", os.fspath(tmp_path / "passphrase"))
    make_package(tmp_path).rename("package")
    commands = {"trust": trust, "release": release}
    for block in BLOCK.findall(GUIDE.read_text()):
        for line in block.splitlines():
            words = shlex.split(line.removeprefix("$ "))
            if words[0] == "cp":
                shutil.copy(words[1], words[2])
            else:
                assert commands[words[1]](words[2:]) == 0, line
    repository = Repository(Path("repo"))
    assert set(repository.releases()) == {"fashion/2"}
    status = read_status(repository, utc_now())
    assert {row.role: (row.threshold, row.holders.count("ben"), len(row.keyids)) for row in status.roles if row.role in ("root", "releases")} == {
        "root": (2, 1, 3), "releases": (1, 1, 2),
    }  # fmt: skip
    assert any("releases trusts each person" in text for text in status.warnings)
    old = trust(["sign", "next-year", "--keys", "ben", "--yes"])
    assert old == 5  # the thief has Ben's old folder, and nothing to sign with it
