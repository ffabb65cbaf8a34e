"""A limit on the memory of processes, as systemd's MemoryMax= sets it: a control group where one can be made, else RLIMIT_AS.

What it is stands in `kind`; `prove` shows that it bites before anything is concluded from it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
INTO = 'echo $$ > "$0" && exec "$@"'
EATER = "import sys; block = bytearray(int(sys.argv[1])); print(len(block))"


class MemoryCage:
    """`with MemoryCage(bytes) as cage: Popen(cage.inside([...]))`."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.kind = "RLIMIT_AS"
        self._group: Path | None = None

    def __enter__(self) -> MemoryCage:
        name = f"edgefleet-{os.getpid()}-{time.monotonic_ns()}"
        for kind, group, limit in _places(name):
            try:
                group.mkdir()
            except OSError:
                continue
            try:
                (group / limit).write_text(str(self.limit_bytes))
            except OSError:
                group.rmdir()
                continue
            # Else what does not fit would go to the disk, and nobody would be killed.
            for swap in ("memory.swappiness", "memory.swap.max"):
                with contextlib.suppress(OSError):
                    (group / swap).write_text("0")
            self.kind, self._group = kind, group
            break
        return self

    def take(self, pid: int) -> None:
        """Put a process that runs already under the limit: what it asks for from now on counts, and its children."""
        assert self._group is not None, "only a control group can take a process that runs"
        (self._group / "cgroup.procs").write_text(str(pid))

    @property
    def holds(self) -> list[int]:
        """The processes under the limit."""
        return [int(pid) for pid in (self._group / "cgroup.procs").read_text().split()] if self._group else []

    def let_go(self) -> None:
        """Let what is under the limit live on without it."""
        for pid in self.holds:
            with contextlib.suppress(OSError):
                (self._group.parent / "cgroup.procs").write_text(str(pid))  # type: ignore[union-attr]

    def __exit__(self, *_: object) -> None:
        if self._group is None:
            return
        for pid in (self._group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(pid), 9)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self._group.rmdir()
                return
            time.sleep(0.05)

    def inside(self, command: list[str]) -> list[str]:
        """Return the command that runs `command` under the limit."""
        if self._group is not None:
            return ["/bin/sh", "-c", INTO, str(self._group / "cgroup.procs"), *command]
        return ["/bin/sh", "-c", 'ulimit -v "$0" && exec "$@"', str(self.limit_bytes // 1024), *command]

    def prove(self) -> str:
        """Return in words that it bites: half of the limit is had, and twice the limit is not."""
        half, twice = (self._eat(self.limit_bytes * factor // 2) for factor in (1, 4))
        assert half == 0, f"{self.kind} of {self.limit_bytes} bytes does not allow half of it (exit code {half})"
        assert twice != 0, f"{self.kind} of {self.limit_bytes} bytes does not bite"
        return f"{self.kind} of {self.limit_bytes / 1e6:.0f} MB, which ends a process of twice that with {twice}"

    def _eat(self, size: int) -> int:
        command = self.inside([sys.executable, "-c", EATER, str(size)])
        return subprocess.run(command, capture_output=True, timeout=60).returncode


def _places(name: str) -> list[tuple[str, Path, str]]:
    """Return where a group may be made: in our own one of version 1 or 2."""
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    found = []
    if (path := own.get("memory")) is not None:
        found += [("a control group (v1)", ROOT / "memory" / path.lstrip("/") / name, "memory.limit_in_bytes")]
        found += [("a control group (v1)", ROOT / "memory" / name, "memory.limit_in_bytes")]
    if (path := own.get("")) is not None:
        found += [("a control group (v2)", ROOT / path.lstrip("/") / name, "memory.max")]
    return found
