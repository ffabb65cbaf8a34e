"""A real broker in a process of its own, on a free port of 127.0.0.1. Needs nothing of ours, so the device's tests use it too."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

_IOTCORE = """
from iotcore import IotCoreBroker
IotCoreBroker(listen="127.0.0.1", port={port}, max_payload_size=400_000).run_forever()
"""


class BrokerProcess:
    """`with BrokerProcess(tmp_path) as broker:` listens on `broker.port`; `kill` is a power cut, `start` starts it again."""

    def __init__(self, folder: Path, kind: str = "mosquitto", *, persistence: bool = False) -> None:
        self.folder, self.kind, self.persistence = folder, kind, persistence
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> BrokerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, on the same port each time, and return once it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = (self.folder / "broker.log").read_text(errors="replace")[-500:]
                raise RuntimeError(f"{self.kind} did not listen on {self.port}: {words}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it politely: with persistence it saves its memory first."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
        process.kill()
        process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop politely and start again."""
        self.stop()
        self.start()

    def _command(self) -> list[str]:
        if self.kind == "iotcore":
            return [sys.executable, "-c", _IOTCORE.format(port=self.port)]
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise RuntimeError("these tests need Mosquitto: apt install mosquitto")
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            "max_packet_size 300000",
            "max_queued_messages 0",
            "max_queued_bytes 4000000",
            f"persistence {'true' if self.persistence else 'false'}",
        ]
        if self.persistence:
            # Started by root it would become the user `mosquitto`, who cannot write here.
            lines += [f"persistence_location {self.folder}/", f"user {pwd.getpwuid(os.getuid()).pw_name}"]
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        return [program, "-c", str(self.folder / "mosquitto.conf")]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
