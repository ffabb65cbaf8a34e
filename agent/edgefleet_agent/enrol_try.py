"""Starts `enrol_child` and takes its answer without ever waiting for it."""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

WALL_LIMIT_S = 120.0


@dataclass(frozen=True)
class Outcome:
    """How a try ended: done, later, unreachable, refused or failed."""

    outcome: str
    words: str
    after_s: float


class Try:
    """One child under way."""

    def __init__(self, verb: str, state: Path, *more: str) -> None:
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._until = time.monotonic() + WALL_LIMIT_S
        command = [sys.executable, "-m", "edgefleet_agent.enrol_child", verb, str(state.absolute()), *more]
        # cwd: `-m` puts the working directory first on the import path; nobody but root writes to /.
        self._child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT, cwd="/"
        )

    def outcome(self) -> Outcome | None:
        """Return how it ended, or None while it runs. A child that hangs is ended."""
        if self._child.poll() is None:
            if time.monotonic() < self._until:
                return None
            self.stop()
            return Outcome("failed", f"it took longer than {WALL_LIMIT_S:.0f} s and was stopped", 0.0)
        self._said.seek(0)
        lines = self._said.read(100_000).decode(errors="replace").strip().splitlines()
        self._said.close()
        try:
            row = json.loads(lines[-1])
            return Outcome(str(row["outcome"]), str(row["words"]), float(row["after_s"]))
        except (LookupError, ValueError, TypeError):
            return Outcome(
                "failed", f"it ended with {self._child.returncode}: {lines[-1] if lines else 'no word'}", 0.0
            )

    def stop(self) -> None:
        """End it. What it has written is whole."""
        self._child.kill()
        self._child.wait()
