"""The listening sockets of one model: bound once by the agent, inherited by each worker that serves it.

They outlive every worker, so between two workers a client waits in the queue instead of being refused.
"""

import os
import socket
from pathlib import Path

from .errors import CannotBind

BACKLOG = 128
PORTS_TRIED = 200


class Sockets:
    """The Unix socket RUN/<model>.sock and the loopback port that RUN/<model>.port names."""

    def __init__(self, run_folder: Path, model: str, port_base: int) -> None:
        """Bind both; raise CannotBind, with what to do, when one cannot be had."""
        self.path = run_folder / f"{model}.sock"
        self._port_file = run_folder / f"{model}.port"
        self.unix = _bind_unix(self.path)
        try:
            self.tcp = _bind_tcp(self._recorded(), port_base)
            self.port: int = self.tcp.getsockname()[1]
            _write(self._port_file, f"{self.port}\n")
        except BaseException:
            self.unix.close()
            raise

    def _recorded(self) -> int | None:
        """The port of the last run: an application that was told it finds it again after the agent restarts."""
        try:
            text = self._port_file.read_text().strip()
        except OSError:
            return None
        return int(text) if text.isascii() and text.isdigit() and 0 < int(text) < 65536 else None

    @property
    def descriptors(self) -> tuple[int, int]:
        """What a worker inherits."""
        return self.unix.fileno(), self.tcp.fileno()

    def close(self, *, unlink: bool) -> None:
        """Close both. `unlink` when the model is gone; an agent that only ends leaves the names for the next."""
        self.unix.close()
        self.tcp.close()
        if unlink:
            self.path.unlink(missing_ok=True)
            self._port_file.unlink(missing_ok=True)


def _bind_unix(path: Path) -> socket.socket:
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
        # Any application of the device may ask, as it may on loopback: a socket of one user would only seem safer.
        beside.chmod(0o666)
        sock.listen(BACKLOG)
        sock.setblocking(False)
        beside.replace(path)
    except OSError as error:
        sock.close()
        raise CannotBind(f"cannot bind {path}: {error.strerror}. Is the `run` folder writable?") from error
    return sock


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
