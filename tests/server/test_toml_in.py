"""Files that a person names on the command line."""

import os
from pathlib import Path

import pytest

from edgefleet_server.cli.enrol_token import read_serials
from edgefleet_server.cli.toml_in import read_toml
from edgefleet_server.errors import BadRequest, NotFound


def test_a_file_of_tables_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[eu-west]\nobjective = 'latency'\n")
    assert read_toml(tmp_path / "a.toml") == {"eu-west": {"objective": "latency"}}


def test_what_is_no_file_or_no_toml_is_told_by_its_name_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "words").write_text("x = \n")
    (tmp_path / "deep").write_text(f"x = {'[' * 5000}")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(NotFound, match=rf"{path} cannot be read: it is no regular file"):
            read_toml(path)
        with pytest.raises(BadRequest, match=rf"{path} cannot be read as CSV: it is no regular file"):
            read_serials(path)
    with pytest.raises(NotFound, match="Is a directory"):
        read_toml(tmp_path)
    with pytest.raises(NotFound, match="No such file"):
        read_toml(tmp_path / "none")
    for name in ("words", "deep"):
        with pytest.raises(BadRequest, match=f"{name} is not TOML"):
            read_toml(tmp_path / name)
