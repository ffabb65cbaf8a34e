"""What a worker may not do: taken by the process itself before it sees a model, and never given back.

`python -m edgefleet_agent.serve.limits` takes them all and prints which of them hold on this machine.
"""

import ctypes
import errno
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .messages import Order
from .providers import memory_is_limited
from .seccomp import forbid_sockets

RESERVED_BYTES = 96 * 1024 * 1024
"""Data that is reserved but not used, on top of a variant's own bound. Measured on x86 with numpy and onnxruntime 1.32
loaded: 65 MB of data reserved where 39 MB of memory are used; a connection's thread reserves its stack besides."""

MAX_OPEN_FILES = 256
"""64 connections, the model's files, and room for a runtime's own."""

TRIAL_OOM_SCORE = 900
WORKER_OOM_STEP = 200
"""Above the agent's own score."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CAPABILITY_VERSION_3 = 0x20080522


@dataclass(frozen=True)
class Limits:
    """What to take. None means no limit."""

    memory_bytes: int | None = None
    """The variant's own bound on its memory."""
    cpu_s: int | None = None
    agent_pid: int | None = None
    """Whose death ends this process."""
    trial: bool = False
    """Whether it only tries: then it is the first to go when memory runs out."""
    own_users: bool = True
    """Whether the network may be dropped together with the knowledge of users: in a namespace of its own, a process
    sees every other user as nobody, and could not tell who connects to it."""
    in_unit: bool = False
    """Whether this is a unit of its own, in which systemd has taken the network away."""


def limits_of(order: Order, *, in_unit: bool = False) -> Limits:
    """Return what a worker that was started with `order` takes."""
    spec = order.spec
    return Limits(
        memory_bytes=spec.memory_limit_bytes if memory_is_limited(spec.provider) else None,
        cpu_s=spec.cpu_limit_s,
        agent_pid=None if in_unit else order.agent_pid,
        trial=order.trial_wall_s is not None,
        own_users=not (order.allow_uids or order.allow_gids),
        in_unit=in_unit,
    )


def take(limits: Limits) -> dict[str, str]:
    """Take `limits` in this process and return how each holds, or `none: <why>`.

    Must run while the process has one thread: the kernel refuses a user namespace to any other.
    """
    held: dict[str, str] = {}
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_OPEN_FILES if most_files == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, most_files)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    held["files"] = "rlimit"
    held["privileges"] = _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or "no new ones"
    held["network"] = "namespace" if limits.in_unit and _is_alone() else _drop_network(limits.own_users)
    _drop_capabilities()
    held["memory"] = _memory(limits.memory_bytes)
    held["cpu"] = _cpu(limits.cpu_s)
    held["oom"] = _first_to_go(limits.trial)
    if limits.in_unit:
        held["orphan"] = "ends when its line to the agent does"
        return held
    # After the namespaces: a change of credentials would clear it.
    held["orphan"] = _call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) or "killed with the agent"
    if limits.agent_pid is not None and os.getppid() != limits.agent_pid:
        sys.exit("the agent that started this worker is gone")
    return held


def _is_alone() -> bool:
    """Return whether there is no way out of here: only a loopback, and nobody listens there."""
    rows = Path("/proc/self/net/dev").read_text().splitlines()[2:]
    return [row.partition(":")[0].strip() for row in rows] == ["lo"] and not Path(
        "/proc/self/net/tcp"
    ).read_text().splitlines()[1:]


def _drop_network(own_users: bool) -> str:
    """A network namespace of its own has no interface that is up; sockets inherited keep working where they were made."""
    why = _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET) if own_users else "none: users must stay known"
    if why is None:
        return "namespace"
    # Where user namespaces are forbidden, root can still have a network namespace alone.
    if _call("unshare", _CLONE_NEWNET) is None:
        return "namespace"
    return "seccomp" if forbid_sockets() is None else why


def _drop_capabilities() -> None:
    """Give up what a new user namespace grants inside itself: it is only more of the kernel to attack."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    libc.capset(ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def _memory(limit_bytes: int | None) -> str:
    """RLIMIT_DATA counts what the process can write alone: address space would count libraries and reservations too."""
    if limit_bytes is None:
        return "none: the release names no bound"
    most = limit_bytes + RESERVED_BYTES
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    except (ValueError, OSError) as error:
        return f"none: {error}"
    return "rlimit"


def _cpu(limit_s: int | None) -> str:
    if limit_s is None:
        return "none: a worker that serves runs on"
    try:
        # One second more before the kill that no handler can catch, so that the first signal says why.
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 1))
    except (ValueError, OSError) as error:
        return f"none: {error}"
    return "rlimit"


def _first_to_go(trial: bool) -> str:
    """When memory runs out, the kernel ends a trial before a worker, and a worker before the agent, whose score is its own.

    Anybody may raise the score; only root can lower it again.
    """
    path = Path("/proc/self/oom_score_adj")
    try:
        now = int(path.read_text())
        score = max(now, TRIAL_OOM_SCORE if trial else min(1000, now + WORKER_OOM_STEP))
        path.write_text(str(score))
    except (OSError, ValueError) as error:
        return f"none: {error}"
    return f"score {score}: " + ("the first to go" if trial else "goes before the agent")


def _call(name: str, *arguments: int) -> str | None:
    """Return None when the C library's `name` succeeds, else `none: <why>`."""
    try:
        function = getattr(ctypes.CDLL(None, use_errno=True), name)
    except AttributeError:
        return f"none: the C library has no {name}"
    if function(*(ctypes.c_ulong(argument) for argument in arguments)) == 0:
        return None
    code = ctypes.get_errno()
    return f"none: {name} says {errno.errorcode.get(code, code)} ({os.strerror(code)})"


def try_all(*, in_unit: bool = False) -> str:
    """Take all limits; return as JSON how each holds."""
    return msgspec.json.encode(take(Limits(memory_bytes=2**30, cpu_s=60, in_unit=in_unit))).decode()


if __name__ == "__main__":
    print(try_all())
