"""A worker in a unit of its own: the agent connects to a socket of systemd's, which starts `edgefleet-worker@.service` for it.

So a process without any privilege gets a child that lives in a stricter sandbox than its own: systemd alone sets it up.
The order and the descriptors go over the connection (`called` is the other end), then its process says who it is, by the
kernel's word, and at last a shell around it says how it ended. Nothing here waits.
"""

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

HELLO = b"hello"
MAX_WORDS = 64
BEGIN_S = 20.0
"""So long systemd may take to begin a unit, on a busy device that boots. One that begins later finds nobody, and ends."""
REPORT_S = 1.0
"""How long after its end the shell's word is waited for, until it counts as killed without a reason that is known."""
LOOK_INTO = "journalctl -u 'edgefleet-worker@*' says more"
_CREDENTIALS = struct.Struct("3i")


class Child(Protocol):
    """What the agent needs of a process that it started. subprocess.Popen is one."""

    @property
    def pid(self) -> int:
        """Its process id; 0 while it is not known yet."""

    def poll(self) -> int | None:
        """How it ended: exit code, or a signal's number below 0; None while it runs."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise subprocess.TimeoutExpired."""


class Called:
    """One worker in its unit. Raises OSError where nobody listens at `door`."""

    def __init__(self, door: Path, descriptors: Sequence[int]) -> None:
        """descriptors: the order's file, standard error, then what the order names, in that order."""
        self.pid = 0
        self.why_none: str | None = None
        """Why its unit never began; None while it may begin yet, and where it did."""
        self._began = False
        self._begin_by = time.monotonic() + BEGIN_S
        self._code: int | None = None
        self._gone_at: float | None = None
        self._watch: int | None = None
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._line.setblocking(False)
            self._line.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._line.connect(str(door))
            socket.send_fds(self._line, [HELLO], list(descriptors))
        except BaseException:
            self._line.close()
            raise

    def poll(self) -> int | None:
        """How it ended."""
        while self._code is None and self._hear():
            pass
        if self._code is None and not self._began and time.monotonic() >= self._begin_by:
            self._never_began(f"it had not begun after {BEGIN_S:.0f} s")
        if self._code is None and self._ended():
            self._gone_at = self._gone_at or time.monotonic()
            if time.monotonic() - self._gone_at >= REPORT_S:
                self._end(-signal.SIGKILL)
        return self._code

    def kill(self) -> None:
        """End it at once; one that is not there yet finds nobody at the other end of its line, and ends."""
        if self._code is not None:
            return
        if self._watch is None:
            self._end(-signal.SIGKILL)
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._watch, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise subprocess.TimeoutExpired."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired("edgefleet-worker@.service", timeout or 0.0)
            time.sleep(0.01)
        return code

    def _hear(self) -> bool:
        """Take in one packet; return whether there may be another."""
        try:
            data, more, _, _ = self._line.recvmsg(MAX_WORDS, socket.CMSG_SPACE(_CREDENTIALS.size))
        except BlockingIOError:
            return False
        except ConnectionResetError:
            # Said once of an end that left something unread, as a unit does whose program is not found; its word comes behind.
            return True
        except OSError:
            data, more = b"", []
        if data == HELLO and not self._began:
            self._began = True
            self._know(more)
        elif data and self._began:
            self._end(_code_of(data))
        elif data:
            self._never_began(f"it ended with exit code {_code_of(data)} before the worker's first word")
        elif self._began:
            # systemd has closed the line, so the unit is over, and nothing more will be said.
            self._end(-signal.SIGKILL)
        else:
            self._never_began("systemd closed the line to it without a word")
        return self._code is None

    def _know(self, more: list[tuple[int, int, bytes]]) -> None:
        # With SO_PASSCRED, set before the line was connected, the kernel adds them to every packet (unix(7)): there is no hello without.
        for level, kind, data in more:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                self.pid = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0]
        with contextlib.suppress(OSError):  # it is gone already
            self._watch = os.pidfd_open(self.pid)

    def _ended(self) -> bool:
        if not self._began:
            return False
        return self._watch is None or bool(select.select([self._watch], [], [], 0)[0])

    def _never_began(self, why: str) -> None:
        self.why_none = why
        self._end(1)

    def _end(self, code: int) -> None:
        self._code = code
        self._line.close()
        if self._watch is not None:
            os.close(self._watch)
            self._watch = None


def _code_of(words: bytes) -> int:
    """Return what a shell calls an end as Popen calls it: a signal's number below 0."""
    text = words.strip()
    code = int(text) if text.isdigit() else 1
    return 128 - code if code > 128 else code
