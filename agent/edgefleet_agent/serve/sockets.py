"""The listening sockets of one model: bound once by the agent, inherited by each worker that serves it.

They outlive every worker, so between two workers a client waits in the queue instead of being refused; and where systemd
keeps them (`kept`), between two agents too.
"""

import grp
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from ..config import Serve
from .errors import CannotBind
from .kept import Kept

BACKLOG = 128
PORTS_TRIED = 200


@dataclass(frozen=True)
class Access:
    """Who may ask, and by which ways."""

    loopback: bool = True
    """Whether there are ports on 127.0.0.1, where anybody on the device may ask."""
    gateway_port: int = 0
    """The one for all models; 0: any free one."""
    group: str = ""
    """Whose members may connect to the Unix sockets; empty: everybody."""
    allow_uids: tuple[int, ...] = ()
    allow_gids: tuple[int, ...] = ()
    """Who may, as the kernel tells it of a Unix socket's other end; both empty: everybody."""
    shared_memory: bool = False
    """The protocol's own extension, by names in /dev/shm."""


OPEN = Access()
"""Anybody on the device, as long as its owner says nothing else."""


def access_of(serve: Serve) -> Access:
    """Return what `[serve]` of agent.toml says."""
    return Access(
        loopback=serve.loopback,
        gateway_port=serve.gateway_port,
        group=serve.group,
        allow_uids=serve.allow_uids,
        allow_gids=serve.allow_gids,
        shared_memory=serve.shared_memory,
    )


class Sockets:
    """The Unix socket RUN/<model>.sock and the loopback port that RUN/<model>.port names."""

    def __init__(
        self, run_folder: Path, model: str, port_base: int, access: Access = OPEN, kept: Kept | None = None
    ) -> None:
        """Bind what systemd has not kept; raise CannotBind, with what to do, when one cannot be had."""
        self.path = run_folder / f"{model}.sock"
        self._kept = kept or Kept(run_folder, environment={})
        gid = _gid(access.group) if access.group else None
        handed = self._kept.unix(self.path, gid)
        self.unix = handed or _bind_unix(self.path, gid)
        self._port: Port | None = None
        try:
            if handed is None:
                self._kept.keep(self.path, self.unix)
            if access.loopback:
                self._port = Port(run_folder / f"{model}.port", port_base, self._kept)
            else:
                (run_folder / f"{model}.port").unlink(missing_ok=True)
                self._kept.forget(f"{model}.port")
        except BaseException:
            self.unix.close()
            raise

    @property
    def port(self) -> int:
        """The loopback port; 0 where there is none."""
        return self._port.number if self._port else 0

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a worker inherits."""
        return (self.unix.fileno(), self._port.sock.fileno()) if self._port else (self.unix.fileno(),)

    def close(self) -> None:
        """Close both; their names stay for the next agent."""
        self.unix.close()
        if self._port:
            self._port.sock.close()


class Port:
    """A loopback port whose number stands in a file: an application that was told it finds it again after a restart."""

    def __init__(self, file: Path, base: int, kept: Kept | None = None) -> None:
        """Take what systemd kept, else bind the port of the last run, else one from `base` on, 0 for any; raise CannotBind."""
        self._file = file
        kept = kept or Kept(file.parent, environment={})
        handed = kept.tcp(file, base, PORTS_TRIED)
        self.sock = handed or _bind_tcp(self._recorded(), base)
        self.number: int = self.sock.getsockname()[1]
        try:
            if handed is None:
                kept.keep(file, self.sock)
            _write(file, f"{self.number}\n")
        except BaseException:
            self.sock.close()
            raise

    def _recorded(self) -> int | None:
        try:
            text = self._file.read_text().strip()
        except OSError:
            return None
        return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 65536 else None


def _bind_unix(path: Path, gid: int | None) -> socket.socket:
    """Bind beside the name and rename over it: no moment in which an application finds nothing there."""
    beside = path.with_suffix(".new")
    if len(os.fsencode(beside)) > 107:
        raise CannotBind(
            f"the path {path} has {len(os.fsencode(path))} bytes and a Unix socket's may have 107: choose a shorter `run` folder"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        sock.bind(str(beside))
        if gid is not None:
            os.chown(beside, -1, gid)
            beside.chmod(0o660)
        else:
            # Any application of the device may ask, as it may on loopback: a socket of one user would only seem safer.
            beside.chmod(0o666)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        beside.replace(path)
    except CannotBind:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise CannotBind(f"cannot bind {path}: {error.strerror}. Is the `run` folder writable?") from error
    return sock


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise CannotBind(f"serve.group is {group!r} and this device has no such group: groupadd {group}") from error


def _bind_tcp(recorded: int | None, port_base: int) -> socket.socket:
    """Bind the recorded port if it is free, else the first free one from `port_base` on (0: any)."""
    ports = [0] if port_base == 0 else list(range(port_base, min(port_base + PORTS_TRIED, 65536)))
    if recorded is not None and (port_base == 0 or recorded in ports):
        ports.insert(0, recorded)
    for port in ports:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            # A port whose last connections still time out may be bound again; one that is listened on may not.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
            sock.listen(BACKLOG)
            sock.setblocking(False)
        except OSError:
            sock.close()
            continue
        return sock
    raise CannotBind(
        f"no port of 127.0.0.1 from {port_base} to {port_base + PORTS_TRIED - 1} is free: set port_base elsewhere"
    )


def _write(path: Path, text: str) -> None:
    beside = path.with_suffix(".port-new")
    beside.write_text(text)
    beside.replace(path)
