"""Listening sockets that outlive the agent because systemd keeps them: sd_listen_fds(3) and FDSTORE= of sd_notify(3).

Two ways lead here. What the agent binds it gives into systemd's keeping, and the next agent gets it back: between the two,
whoever connects waits in the queue. And a socket unit may have bound a name before there was any agent, for applications
that start early. Without systemd, everything here says that there is nothing.
"""

import contextlib
import os
import socket
import stat
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path

from ..log import LOG
from ..notify import Notifier

FIRST = 3
"""SD_LISTEN_FDS_START."""
UNCLAIMED_S = 60.0
"""After so long, what the last agent kept and no model asked for is let go: else its clients would wait for ever."""


@dataclass(frozen=True)
class _Handed:
    sock: socket.socket
    inode: int | None
    """Of the name in the file system, as it was when the socket was given into keeping; None for a socket unit's."""
    by_unit: bool


class Kept:
    """What systemd handed over, by the file in the run folder that it belongs to: `<model>.sock`, `<model>.port`, `port`."""

    def __init__(
        self, run_folder: Path, notifier: Notifier | None = None, environment: MutableMapping[str, str] | None = None
    ) -> None:
        """Take what LISTEN_FDS announces for this process out of the environment: children must not take it for theirs."""
        known = os.environ if environment is None else environment
        self._run, self._notifier = run_folder, notifier
        self._until = time.monotonic() + UNCLAIMED_S
        self._handed: dict[str, _Handed] = {}
        count, pid, names = (known.pop(f"LISTEN_{name}", "") for name in ("FDS", "PID", "FDNAMES"))
        if pid != str(os.getpid()) or not count.isascii() or not count.isdigit():
            return
        for place, name in enumerate((names.split(":") + [""] * int(count))[: int(count)]):
            self._add(FIRST + place, name)

    def _add(self, number: int, name: str) -> None:
        try:
            os.set_inheritable(number, False)
            sock = socket.socket(fileno=number)
            listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            sock.setblocking(False)
        except OSError as error:
            LOG.warning("systemd handed over descriptor %d, which is no socket to listen on: %s", number, error)
            return
        file, handed = _of_store(sock, name) or _of_unit(sock, self._run)
        if not listens or not file or file in self._handed:
            LOG.warning(
                "systemd handed over a socket %r at %r, and nothing here listens on such a one", name, _at(sock)
            )
            sock.close()
            return
        self._handed[file] = handed

    def unix(self, path: Path, gid: int | None) -> socket.socket | None:
        """Return the socket that listens at `path` with the rights that are wished; None where it has to be bound.

        gid: whose members may connect; None: everybody.
        """
        handed = self._handed.pop(path.name, None)
        if handed is None:
            return None
        try:
            found = path.lstat()
        except OSError:
            found = None
        right = found is not None and stat.S_ISSOCK(found.st_mode) and handed.inode in (None, found.st_ino)
        if right and found is not None:
            right = (
                (found.st_mode & 0o006 == 0o006) if gid is None else (found.st_gid == gid and not found.st_mode & 0o007)
            )
        return self._given(path.name, handed, right)

    def tcp(self, file: Path, base: int, tried: int) -> socket.socket | None:
        """Return the loopback socket that belongs to `file`; None where it has to be bound.

        base, tried: a port that the owner wished elsewhere is not taken; a socket unit is the owner's wish itself.
        """
        handed = self._handed.pop(file.name, None)
        if handed is None:
            return None
        port = handed.sock.getsockname()[1]
        return self._given(file.name, handed, handed.by_unit or base == 0 or base <= port < base + tried)

    def _given(self, name: str, handed: _Handed, right: bool) -> socket.socket | None:
        if right:
            return handed.sock
        LOG.info("the socket %s that was kept is not the one that is wished now: it is bound anew", name)
        self._let_go(name, handed)
        return None

    def keep(self, path: Path, sock: socket.socket) -> None:
        """Give a socket that was bound here into systemd's keeping."""
        if self._notifier is None:
            return
        with contextlib.suppress(OSError):  # a name that somebody removes just now is not worth keeping
            inode = f"@{path.lstat().st_ino}" if sock.family == socket.AF_UNIX else ""
            self._notifier.hold(path.name + inode, sock.fileno())

    def forget(self, name: str) -> None:
        """Have systemd let go of what was kept under a file's name."""
        if self._notifier is not None:
            inodes = [""]
            with contextlib.suppress(OSError):
                inodes.append(f"@{(self._run / name).lstat().st_ino}")
            for inode in inodes:
                self._notifier.let_go(name + inode)

    def _let_go(self, name: str, handed: _Handed) -> None:
        """Close what was handed over, and have systemd forget it, though its name be another file by now, or none."""
        handed.sock.close()
        self.forget(name)
        if self._notifier is not None and handed.inode is not None:
            self._notifier.let_go(f"{name}@{handed.inode}")

    def tidy(self) -> None:
        """Let go of what nobody asked for. What a socket unit bound stays: its model may still come."""
        if not self._handed or time.monotonic() < self._until:
            return
        self._until = float("inf")
        for name, handed in list(self._handed.items()):
            if not handed.by_unit:
                del self._handed[name]
                self._let_go(name, handed)


def _of_store(sock: socket.socket, name: str) -> tuple[str, _Handed] | None:
    """Return what the last agent kept: its name says the file, and for one in the file system which one it was."""
    file, at, inode = name.partition("@")
    if sock.family == socket.AF_UNIX and at and inode.isascii() and inode.isdigit() and file.endswith(".sock"):
        return file, _Handed(sock, int(inode), False)
    if sock.family == socket.AF_INET and not at and (file == "port" or file.endswith(".port")):
        return file, _Handed(sock, None, False)
    return None


def _of_unit(sock: socket.socket, run_folder: Path) -> tuple[str, _Handed]:
    """Return what a socket unit bound: a model's name in the run folder, or the port for all models on loopback."""
    at = _at(sock)
    if sock.family == socket.AF_UNIX and Path(at).parent == run_folder and at.endswith(".sock"):
        return Path(at).name, _Handed(sock, None, True)
    if sock.family == socket.AF_INET and at.startswith("127."):
        return "port", _Handed(sock, None, True)
    return "", _Handed(sock, None, True)


def _at(sock: socket.socket) -> str:
    name = sock.getsockname()
    return name if isinstance(name, str) else str(name[0]) if isinstance(name, tuple) else ""
