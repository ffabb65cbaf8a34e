"""Leases: applications that may not be interrupted for a while. A switch waits for them, up to the policy's deadline.

The agreement with applications (the Python client's `lease.py` keeps it; any language can):

- The application makes a file of its own in `RUN/leases/<model>/`, takes an exclusive `flock` on it, writes one JSON object,
  gives it a name that ends in `.lease`, and keeps it open for as long as it must not be interrupted:
  `{"pid": 71, "started": 12345, "namespace": "pid:[4026531836]", "boot": "<boot id>", "program": "camera", "until": 5120.5}`
  with `started` the process' start time (field 22 of `/proc/<pid>/stat`), `namespace` what `/proc/self/ns/pid` links to,
  and `until` in seconds of CLOCK_MONOTONIC.
- A lease counts while its file is locked, its boot is this one, `until` is ahead and, where the application is in the agent's
  own pid namespace, that very process lives. So the kernel ends it with the process, a child that inherited the descriptor
  does not prolong it, and a reboot forgets it.
- At most MAX_LEASES of a model count, the oldest names first, none longer than MAX_LEASE_S from when the agent sees it.
- Whatever no longer counts, the agent removes.
"""

import contextlib
import fcntl
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from .rules.seen import Lease
from .seams import Clock

MAX_LEASES = 8
MAX_LEASE_S = 3600.0
MAX_ENTRIES, MAX_BYTES = 64, 4096
"""Of a folder that every application may write to: what is looked at is bounded."""


class Written(msgspec.Struct, frozen=True):
    """What an application writes."""

    pid: int
    started: int
    boot: str
    until: float
    namespace: str = ""
    program: str = ""


@dataclass
class LeaseFolder:
    """The leases below RUN. Reading never waits, and never raises for what an application wrote."""

    run: Path
    clock: Clock
    proc: Path = Path("/proc")

    def prepare(self, model: str) -> None:
        """Make the model's folder, where any application on this device may put a file of its own."""
        for folder in (self.run / "leases", self.run / "leases" / model):
            with contextlib.suppress(OSError):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o1777 if folder.name == model else 0o755)

    def of(self, model: str) -> tuple[Lease, ...]:
        """Return the leases of `model` that count now."""
        folder = self.run / "leases" / model
        try:
            with os.scandir(folder) as entries:
                leases = (row.name for row in entries if row.name.endswith(".lease"))  # whatever else lies there
                names = sorted(islice(leases, MAX_ENTRIES))
        except OSError:
            return ()
        found = [self._read(folder / name) for name in names]
        return tuple(row for row in found if row is not None)[:MAX_LEASES]

    def _read(self, path: Path) -> Lease | None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            if _is_locked(handle):
                data = os.read(handle, MAX_BYTES)
                lease = self._counted(msgspec.json.decode(data, type=Written))
                if lease is not None:
                    return lease
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass
        finally:
            os.close(handle)
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def _counted(self, written: Written) -> Lease | None:
        now = self.clock.monotonic()
        if written.boot != self.clock.boot() or written.until <= now:
            return None
        if written.namespace == self._namespace() and self._started(written.pid) != written.started:
            return None
        return Lease(written.pid, written.program[:64], min(written.until, now + MAX_LEASE_S))

    def _namespace(self) -> str:
        try:
            return str((self.proc / "self/ns/pid").readlink())
        except OSError:
            return "unknown"

    def _started(self, pid: int) -> int | None:
        """Return when a process started, in ticks since boot. Its name may hold spaces and brackets."""
        try:
            return int((self.proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[19])
        except (OSError, ValueError, IndexError):
            return None


def _is_locked(handle: int) -> bool:
    """Return whether another process holds the file: no lock of ours outlives the question."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
