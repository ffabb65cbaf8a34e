"""What `edgefleet-worker.socket` and `edgefleet-worker@.service` do, without systemd and its sandbox: each connection is a process."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

AS_UNIT = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.execv("/bin/sh", ["sh", "-c", '"$0" -I -m edgefleet_agent.serve.called; echo $? >&3', sys.executable])
"""


class SocketUnit:
    """`with SocketUnit(folder) as unit:`; workers are asked for at `unit.door`."""

    def __init__(self, folder: Path, program: str = AS_UNIT) -> None:
        """program: what each connection starts, with the connection's number as its argument."""
        self.door = folder / "door"
        self.shells: list[subprocess.Popen[bytes]] = []
        self.program = program
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.door))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "SocketUnit":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for shell in self.shells:
            shell.kill()
            shell.wait()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with line:
                os.set_inheritable(line.fileno(), True)
                self.shells.append(
                    subprocess.Popen([sys.executable, "-c", self.program, str(line.fileno())], pass_fds=[line.fileno()])
                )
