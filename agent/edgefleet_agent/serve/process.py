"""A worker process as the agent sees it: started, listened to without waiting, ended, and how it ended in words."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .messages import MAX_PACKET_BYTES, Do, Order, Said, decode_said, encode
from .units import LOOK_INTO, Called, Child

KILL_AFTER_S = 2.0
"""Beyond its time to drain, until it is killed."""

WORKER = (sys.executable, "-I", "-m", "edgefleet_agent.serve.worker")
"""Isolated: neither the working directory nor the environment says where modules come from."""

_KEPT = frozenset({"PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"})
_KEPT_PREFIXES = ("CUDA_", "NVIDIA_", "ORT_", "TRT_")

_SIGNALS = {
    signal.SIGILL: "an instruction this CPU lacks",
    signal.SIGSEGV: "a crash inside the runtime",
    signal.SIGABRT: "the runtime gave up",
    signal.SIGBUS: "a file or memory that went away",
    signal.SIGFPE: "an impossible calculation inside the runtime",
    signal.SIGKILL: "by the kernel for want of memory, or by hand",
    signal.SIGTERM: "by hand",
}


class Channel:
    """The agent's end of a control socket. Nothing here waits longer than it is told."""

    def __init__(self) -> None:
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._open = True

    def say(self, do: Do) -> None:
        """Send; a worker that is gone, or reads nothing, does not hear it."""
        if self._open:
            try:
                self._ours.send(encode(do))
            except OSError:
                return

    def hear(self, timeout_s: float = 0.0) -> Said | None:
        """Return the next message, waiting for at most `timeout_s`; None when there is none."""
        if not self._open:
            return None
        try:
            self._ours.settimeout(timeout_s)
            packet = self._ours.recv(MAX_PACKET_BYTES)
        except (BlockingIOError, TimeoutError):
            return None
        except OSError:
            packet = b""
        if not packet:
            self.close()
            return None
        try:
            return decode_said(packet)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def close(self) -> None:
        """Close the agent's end."""
        if self._open:
            self._open = False
            self._ours.close()


def environment() -> dict[str, str]:
    """Return what a worker may know of the agent's environment: where libraries lie, and no secret."""
    return {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}


class Process:
    """One worker process."""

    def __init__(self, order: Order, channel: Channel, command: Sequence[str], door: Path | None = None) -> None:
        """Start it. The worker's end of `channel` is closed here once it has been inherited. door: of units, for one in a unit."""
        self.order = order
        # Kept for as long as the process: a channel that closes tells the worker that its agent is gone.
        self.channel = channel
        given = os.memfd_create("order")
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        self.door_shut: str | None = None
        """Why no unit could be asked for at `door`: it is a child then."""
        self._errors = os.fdopen(ours, "rb", buffering=0)
        try:
            os.write(given, encode(order))
            os.lseek(given, 0, os.SEEK_SET)
            self._child = self._start(command, given, theirs, door)
        finally:
            os.close(given)
            os.close(theirs)
            channel.theirs.close()
        self._last_line = b""
        self.kill_at: float | None = None
        self.killed_because: str | None = None

    def _start(self, command: Sequence[str], given: int, errors: int, door: Path | None) -> Child:
        if door is not None:
            try:
                return Called(door, [given, errors, *self.order.inherited])
            except OSError as error:
                self.door_shut = f"{door}: {error.strerror}"
        spec = self.order.spec
        return subprocess.Popen(
            # The names are for people who look at `ps`; the worker ignores them.
            [*command, spec.release, spec.variant],
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=self.order.inherited,
            cwd="/",
            env=environment(),
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it runs; one that ended is reaped by asking."""
        self._read_errors()
        return self._child.poll() is None

    def kill(self, because: str | None = None) -> None:
        """End it at once. `because` is then what `words` says."""
        if self._child.poll() is None:
            self.killed_because = self.killed_because or because
            self._child.kill()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; kill it when it does not come in time."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            self._child.wait()
        self._read_errors()

    @property
    def crashed(self) -> bool:
        """Whether it ended by itself and not well: by a signal that code brings about, or with an exit code of failure."""
        code = self._child.poll()
        if code is None or self.killed_because is not None:
            return False
        return code > 0 or -code in (signal.SIGILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE)

    @property
    def why_no_unit(self) -> str | None:
        """Why the unit that was to be its own never began, and what to do; None for all others."""
        why = self._child.why_none if isinstance(self._child, Called) else None
        return why and f"systemd began no unit for it: {why}; {LOOK_INTO}, and the next worker is a child of the agent"

    def words(self) -> str:
        """How it ended: exit code or signal with what that means, and the last line that it printed."""
        if self.killed_because is not None:
            return self.killed_because
        code = self._child.poll()
        if code is None:
            return "it is still running"
        self._read_errors()
        said = self._last_line.decode("utf-8", "replace").strip()[-300:]
        tail = f"; its last words: {said}" if said else ""
        if code >= 0:
            return f"ended with exit code {code}{tail}"
        return f"killed by {_name(-code)}: {self._meaning(-code)}{tail}"

    def _meaning(self, number: int) -> str:
        spec = self.order.spec
        if number == signal.SIGXCPU:
            return f"used more than {spec.cpu_limit_s} s of CPU"
        if number == signal.SIGALRM and self.order.trial_wall_s is not None:
            return f"took longer than {self.order.trial_wall_s:.0f} s"
        try:
            return _SIGNALS.get(signal.Signals(number), "without a reason that is known")
        except ValueError:
            return "without a reason that is known"

    def _read_errors(self) -> None:
        while not self._errors.closed:
            data = self._errors.read(65536)
            if data is None:  # nothing now
                return
            if not data:
                self._errors.close()
                return
            # Only the last line is kept, whatever comes.
            lines = [line for line in (self._last_line + data)[-4096:].split(b"\n") if line.strip()]
            self._last_line = lines[-1] if lines else b""


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def sweep(processes: list[Process]) -> list[Process]:
    """Reap those that ended and kill those whose time is over; return those that ended, which leave the list."""
    now = time.monotonic()
    ended = [process for process in processes if not process.alive]
    for process in ended:
        processes.remove(process)
    for process in processes:
        if process.kill_at is not None and now >= process.kill_at:
            process.kill("killed: it did not end when it was told to")
    return ended


def folder_of(process: Process) -> Path:
    """Return the folder of `process` in /proc."""
    return Path("/proc") / str(process.pid)
