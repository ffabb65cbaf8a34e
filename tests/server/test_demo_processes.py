"""What the demo's parts print, and where it listens."""

import socket
from pathlib import Path

import pytest

from edgefleet_server.demo.commands import main
from edgefleet_server.demo.processes import Processes


def test_a_part_that_prints_much_before_it_ends_is_read_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chatty.py").write_text(
        "import sys\nprint('x' * 500_000)\nsys.stdout.flush()\nprint('done', file=sys.stderr)\n"
    )
    said: list[str] = []
    with Processes(tmp_path, {"PYTHONPATH": str(tmp_path)}) as processes:
        assert len(processes.run("chatty", ["chatty"], say=said.append)) == 500_001
        assert len(processes.run("chatty", ["chatty"])) == 500_001
    assert said == ["done"]


def test_a_port_that_cannot_be_had_is_said_before_any_work(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for number, words in ((99999, "is no port: write 1 to 65535"), (0, "is no port"), (port, "name another")):
            assert main(["--once", "--port", str(number)]) == 2
            assert f"edgefleet demo: --port {number} " in (said := capsys.readouterr().err) and words in said
