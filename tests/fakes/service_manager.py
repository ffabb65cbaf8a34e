"""A small service manager: starts a program with NOTIFY_SOCKET, keeps descriptors that it hands over, and hands them to the next.

What it speaks is what sd_notify(3) and sd_listen_fds(3) say.
"""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FIRST = 3
RENUMBER = """
import os, sys
for place, number in enumerate(int(word) for word in sys.argv[1].split(",") if word):
    os.dup2(number, 3 + place, inheritable=True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
HIGH = 100
"""Where descriptors wait until the child moves them to where they belong."""


class ServiceManager:
    """`with ServiceManager(folder) as manager:`"""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "notify"
        self.kept: dict[str, int] = {}
        """Descriptors by their names."""
        self.words: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.address))
        self._socket.setblocking(False)

    def __enter__(self) -> "ServiceManager":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        for number in self.kept.values():
            os.close(number)

    def hear(self) -> None:
        """Take in all that was said."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, numbers, _, _ = socket.recv_fds(self._socket, 4096, 8)
                lines = data.decode().splitlines()
                self.words += lines
                said = dict(line.partition("=")[::2] for line in lines)
                if "FDSTORE" in said:
                    self.kept[said["FDNAME"]] = numbers[0]
                elif "FDSTOREREMOVE" in said and said["FDNAME"] in self.kept:
                    os.close(self.kept.pop(said["FDNAME"]))

    def start(self, program: Sequence[str], units: Mapping[str, socket.socket] | None = None) -> subprocess.Popen[str]:
        """Start Python with `program`; it gets what is kept, and `units`: sockets by the names of their units."""
        handed = {name: sock.fileno() for name, sock in (units or {}).items()} | self.kept
        waiting = [os.dup2(number, HIGH + place) for place, number in enumerate(handed.values())]
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.address),
            "LISTEN_FDS": str(len(handed)),
            "LISTEN_FDNAMES": ":".join(handed),
        }
        numbers = ",".join(str(number) for number in waiting)
        try:
            return subprocess.Popen(
                [sys.executable, "-c", RENUMBER, numbers, sys.executable, *program],
                stdout=subprocess.PIPE, text=True, env=environment, pass_fds=waiting,
            )  # fmt: skip
        finally:
            for number in waiting:
                os.close(number)
