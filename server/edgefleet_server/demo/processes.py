"""Starting the parts as processes, keeping what they print, and leaving none behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import ServerError
from ..link.lifeline import lifeline


class PartFailed(ServerError):
    """A part of the demo ended when it should not have; the end of what it printed says why."""


class Processes:
    """The demo's children. Each has a log file; leaving the `with` block ends them all, last started first."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = {**os.environ, **environment}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Processes":
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._running)):
            self.stop(name)

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start `python -m …` with its output in NAME.log."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                preexec_fn=lifeline(),
            )

    def run(self, name: str, arguments: Sequence[str], *, say: Callable[[str], None] | None = None) -> str:
        """Run `python -m …` to its end and return its standard output; raise PartFailed unless it ends with 0.

        say: called with each line that it prints as progress.
        """
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log if say is None else subprocess.PIPE,
                env=self._environment,
                preexec_fn=lifeline(),
            )
            self._running[name] = process
            assert process.stdout is not None
            # Beside the lines, or a process that prints more than a pipe holds before it ends would wait for ever.
            with ThreadPoolExecutor(1) as reader:
                printed = reader.submit(process.stdout.read)
                if say is not None:
                    assert process.stderr is not None
                    for line in process.stderr:
                        log.write(line)
                        say(line.decode(errors="replace").rstrip())
                output = printed.result().decode(errors="replace")
        code = process.wait()
        self._running.pop(name, None)
        if code != 0:
            raise PartFailed(f"{' '.join(arguments[:3])} … ended with {code}:\n{self.tail(name)}{output[-500:]}")
        return output

    def check(self) -> None:
        """Raise PartFailed when a process that should run has ended."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                raise PartFailed(f"{name} ended with {code}:\n{self.tail(name)}")

    def stop(self, name: str, wait_s: float = 10.0) -> None:
        """End a process politely, then by force."""
        process = self._running.pop(name, None)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait_s)
            return
        process.kill()
        process.wait()

    def log(self, name: str) -> Path:
        """Where a process' output goes."""
        return self._folder / f"{name}.log"

    def tail(self, name: str, lines: int = 15) -> str:
        """The last lines that a process printed."""
        path = self.log(name)
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) + "\n"


def wait_for(
    what: str, ready: Callable[[], bool], processes: Processes, timeout_s: float, every_s: float = 0.25
) -> None:
    """Return once `ready()`; raise PartFailed when a process ends before, or after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        processes.check()
        if time.monotonic() > deadline:
            raise PartFailed(f"{what} did not happen within {timeout_s:g} s")
        time.sleep(every_s)
