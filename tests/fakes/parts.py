"""The parts as processes of the operating system: started, killed, and what they printed kept."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

POLITE_S = 30.0


class Parts:
    """Processes by name, each with a log file; `stop_all` leaves none behind."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.logs.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start `python -m …`; its output goes on in NAME.log."""
        with (self.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )

    def pid(self, name: str) -> int:
        """Return the process id of a part that runs."""
        return self._running[name].pid

    def runs(self, name: str) -> bool:
        """Return whether a part was started and was neither stopped nor killed here."""
        return name in self._running

    def kill(self, name: str) -> None:
        """End a part as a power cut would, with SIGKILL."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name: str) -> int:
        """End a part politely; return its exit code. One that does not end in time is killed."""
        process = self._running.pop(name)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(POLITE_S)
        process.kill()
        return process.wait()

    def stop_all(self) -> None:
        """End all of them, last started first; all are asked before any is waited for."""
        for process in self._running.values():
            process.terminate()
        for name in reversed(list(self._running)):
            self.stop(name)

    def check(self) -> None:
        """Fail when a part ended by itself."""
        for name, process in self._running.items():
            assert process.poll() is None, f"{name} ended by itself with {process.returncode}"

    def tails(self, lines: int = 25) -> str:
        """Return the last lines of every log."""
        parts = []
        for log in sorted(self.logs.glob("*.log")):
            last = log.read_text(errors="replace").splitlines()[-lines:]
            parts += [f"--- {log.name}", *last]
        return "\n".join(parts)


def run(arguments: Sequence[str], timeout_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
    """Run `python -m …` to its end."""
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=timeout_s)


def children(pid: int) -> dict[int, list[str]]:
    """Return the command lines of a process' children, by their ids."""
    found: dict[int, list[str]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # The name in brackets may hold anything, so fields are counted from its end: state, then the parent.
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found[int(folder.name)] = (folder / "cmdline").read_text().split("\0")
    return found
