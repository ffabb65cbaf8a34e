"""A lease: for a while, this application must not be interrupted by another model taking over.

    with lease("fashion", seconds=120):
        inspect(the_whole_batch)

The agent waits with a switch until the lease is given back, is over, or its process is gone, and at most as long as the
region's policy says. What serves goes on either way, and no request is lost in a switch: a lease is for applications that
cannot bear *another* model in the middle of their work. A worker that dies is started again whatever is leased.

How it works: a file in `RUN/leases/<model>/`, locked by `flock` for as long as it holds, says who holds it until when. The
kernel lets go of the lock when the process ends.
"""

import contextlib
import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import ClientError

LONGEST_S = 3600.0
"""The agent counts no lease for longer; take another one."""


class NoLease(ClientError):
    """No lease can be had. The message says why."""


@contextlib.contextmanager
def lease(model: str, seconds: float, run: Path | str | None = None) -> Iterator[None]:
    """Hold a lease of `model` for at most `seconds`; raise NoLease when there is no agent that could keep it.

    run: the agent's run folder; by default what EDGEFLEET_RUN says, else /run/edgefleet.
    """
    if not 0 < seconds <= LONGEST_S:
        raise NoLease(f"a lease of {seconds:g} s: it must be more than 0 and at most {LONGEST_S:g}")
    folder = Path(run or os.environ.get("EDGEFLEET_RUN") or "/run/edgefleet") / "leases" / model
    path = folder / f"{time.monotonic_ns():020}-{os.getpid()}-{secrets.token_hex(4)}.lease"
    new = path.with_suffix(".new")  # it gets its name once it is locked: one that is not locked is removed
    try:
        handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise NoLease(f"{folder} takes no lease of {model}: {error.strerror}. Is the agent running there?") from error
    try:
        # Readable for the agent, whatever this process' umask says.
        os.fchmod(handle, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, json.dumps(_written(seconds)).encode())
        new.rename(path)
        yield
    finally:
        for name in (path, new):
            with contextlib.suppress(OSError):
                name.unlink()
        os.close(handle)


def _written(seconds: float) -> dict[str, object]:
    pid = os.getpid()
    return {
        "pid": pid,
        "started": int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]),
        "namespace": str(Path("/proc/self/ns/pid").readlink()),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "program": Path(sys.argv[0] or "python").name[:64],
        "until": time.monotonic() + seconds,
    }
