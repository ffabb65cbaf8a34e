"""The parts of a run as processes, and what they take: each is ended by its own id, and none is left behind."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

POLITE_S = 60.0


class Part:
    """One process, started again under the same name; its processor time adds up over all its lives."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None):
        self.name, self._command, self._log = name, list(command), folder / f"{name}.log"
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._cpu_before_s = 0.0

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    def stop(self) -> None:
        """End it politely; one that does not end in time is killed."""
        process = self._take()
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLITE_S)
            return
        process.kill()
        process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        process = self._take()
        if process is not None:
            process.kill()
            process.wait()

    def _take(self) -> "subprocess.Popen[bytes] | None":
        self._cpu_before_s = self.cpu_s()
        process, self._process = self._process, None
        return process

    def ended(self) -> int | None:
        """Return its exit code where it ended by itself."""
        return self._process.poll() if self._process is not None else None

    def cpu_s(self) -> float:
        """Return the processor seconds of all its lives."""
        if self._process is None:
            return self._cpu_before_s
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return self._cpu_before_s
        return self._cpu_before_s + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pss_mb(self) -> float:
        """Return its proportional set size in MB of 10^6 bytes; 0 where it does not run."""
        return pss_mb(self._process.pid) if self._process is not None else 0.0

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:]) if self._log.exists() else ""


def pss_mb(pid: int) -> float:
    """Return a process' proportional set size in MB."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    return 0.0


def python(*arguments: str) -> list[str]:
    """Return the command that runs a module with this interpreter."""
    return [sys.executable, "-m", *arguments]


def until(what: str, holds: "object", timeout_s: float, step_s: float = 0.1) -> None:
    """Wait until `holds()`; raise TimeoutError that says what did not come."""
    end = time.monotonic() + timeout_s
    while not holds():  # type: ignore[operator]
        if time.monotonic() > end:
            raise TimeoutError(f"in {timeout_s:.0f} s this did not come: {what}")
        time.sleep(step_s)
