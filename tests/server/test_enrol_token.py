"""`edgefleet server enrol-token new`: what no board can say is refused in one line, and no token is made."""

import shutil
from pathlib import Path

import pytest

from edgefleet_server.commands import server
from edgefleet_server.store import enrol_tokens
from edgefleet_server.store.database import Database
from tests.fakes.enrolment import Enrolments
from tests.fakes.repository import FakeRepository


@pytest.fixture
def config(tmp_path: Path, repo: FakeRepository) -> Path:
    with Enrolments(tmp_path):
        pass
    shutil.copytree(tmp_path / "server/identity", tmp_path / "identity")
    path = tmp_path / "server.toml"
    path.write_text(
        "repository = 'repository'\nkeys = 'keys'\ndata = 'server'\n[identity]\nfolder = 'identity'\n"
        "[broker]\nopen = true\n[http]\nopen = true\n"
    )
    return path


def test_a_serial_that_no_board_can_have_is_refused(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = ["enrol-token", "new", "--config", str(config), "--region", "eu-west"]
    listed, batch = config.with_name("boards.csv"), ["--batch", "--cap", "5", "--serials"]
    for serial, words in (
        ("x" * 65, "the board's serial is of 65 characters, and may have 1 to 64 printable ASCII characters"),
        ("10000\n0000", r"the board's serial is '10000\n0000', and may have"),
        ("größe", "the board's serial is 'größe'"),
        ("", "the board's serial is ''"),  # as of a shell's variable that is not set: it would let any board in
    ):
        assert server([*new, "--serial", serial]) == 2
        said = capsys.readouterr().err
        assert words in said and len(said.strip().splitlines()) == 1
        if serial:
            listed.write_text(f'serial,device\nfine,\n"{serial}",\n')
            assert server([*new, *batch, str(listed)]) == 2
            assert f"boards.csv, line {4 if chr(10) in serial else 3}: {words}" in capsys.readouterr().err
    assert server([*new, "--serial", "100000001234abcd"]) == 0
    database = Database(config.with_name("server") / "server.sqlite3")
    with database.read() as connection:
        (token,) = enrol_tokens.every(connection)
    database.close()
    assert [row.serial for row in token.allowed] == ["100000001234abcd"]
