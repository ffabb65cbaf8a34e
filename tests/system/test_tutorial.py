"""The tutorial, typed as it stands: every console block in one shell, every Python block after it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)

# A person reads while a server starts; a shell does not. Exit code 7 is "server unreachable", 5 is "no device matches" for a
# device that has not yet said what it is.
PATIENCE = """
set -eu
edgefleet() {
    for _ in $(seq 90); do
        code=0; "$PYTHON" -m edgefleet "$@" || code=$?
        case $code in 5|7) sleep 1 ;; *) return $code ;; esac
    done
    return $code
}
python() { "$PYTHON" "$@"; }
"""


def script() -> str:
    """Return the tutorial's commands as one shell script."""
    lines = [PATIENCE]
    for kind, text in BLOCK.findall((ROOT / "docs/tutorial.md").read_text()):
        if kind == "console":
            lines += [line.removeprefix("$ ") for line in text.splitlines()]
        else:
            lines += ["python - <<'PYTHON_BLOCK'", text.rstrip(), "PYTHON_BLOCK"]
    return "\n".join([*lines, "echo the end of the tutorial", ""])


@pytest.mark.timeout(600)
def test_the_tutorial_works_as_it_is_written(tmp_path_factory: pytest.TempPathFactory, demo_work: Path) -> None:
    folder = tmp_path_factory.mktemp("t")
    if any(demo_work.iterdir()):  # the demo has trained the same network: the tutorial finds its steps done
        shutil.copytree(demo_work, folder / "work/package-work")
    environment = {**os.environ, "PYTHON": sys.executable, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    shell = subprocess.Popen(
        ["bash", "-c", script()],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=(folder / "out").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        code = shell.wait(560)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
    said = (folder / "out").read_text(errors="replace")
    assert code == 0 and "the end of the tutorial" in said, said[-6000:]
    assert "fashion/1" in said and "taken" in said
