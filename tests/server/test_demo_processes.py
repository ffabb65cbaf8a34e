"""What the demo's parts print, and where it listens."""

from pathlib import Path

import pytest

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
