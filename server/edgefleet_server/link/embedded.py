"""A broker of our own, for the demo and for tests: on loopback, open, and gone with the process that started it.

Mosquitto where it is installed; else `iotcore`, a broker in a Python wheel, in a process of its own. The second knows
neither persistence nor access rules and was measured to carry about fifty devices, so it is for demos only.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ..broker import limits
from ..broker.place import owner
from ..errors import NoBroker
from .lifeline import lifeline

Kind = Literal["mosquitto", "iotcore"]

START_TIMEOUT_S = 20.0


def mosquitto_path() -> str | None:
    """Return where Mosquitto is: on PATH, or in /usr/sbin, which Debian leaves out of people's PATH."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def available() -> tuple[Kind, ...]:
    """Return the brokers that can be started here, the better first."""
    kinds: list[Kind] = []
    if mosquitto_path() is not None:
        kinds.append("mosquitto")
    if find_spec("iotcore") is not None:
        kinds.append("iotcore")
    return tuple(kinds)


@dataclass(frozen=True)
class Settings:
    """Which broker, where it listens, and where it keeps its memory over a restart."""

    port: int
    folder: Path
    kind: Kind | None = None
    """None takes the better one that is here."""
    persistence: bool = False


class EmbeddedBroker:
    """A broker in a child process. `with EmbeddedBroker(settings) as broker:` has it listening on 127.0.0.1."""

    def __init__(self, settings: Settings) -> None:
        kind = settings.kind or next(iter(available()), None)
        if kind is None:
            raise NoBroker(
                "no broker is here to start. Install one: apt install mosquitto, or pip install 'edgefleet-server[demo]'"
            )
        if kind not in available():
            raise NoBroker(f"{kind} is not installed here; found: {', '.join(available()) or 'none'}")
        if settings.persistence and kind == "iotcore":
            raise NoBroker("iotcore keeps nothing over a restart: ask for Mosquitto, or for no persistence")
        self.kind: Kind = kind
        self.port = settings.port
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "EmbeddedBroker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it and return once it listens; raise NoBroker with its last words when it does not."""
        if listens(self.port):
            raise NoBroker(f"port {self.port} is taken by another program: choose another, or end that one")
        self._settings.folder.mkdir(parents=True, exist_ok=True)
        log = self._settings.folder / "broker.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=lifeline()
            )
        try:
            self._wait_until_itlistens(self._process, log)
        except BaseException:  # Ctrl-C too: whoever could not enter the `with` block never leaves it
            self.stop()
            raise

    def _wait_until_itlistens(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not listens(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(errors="replace").strip().splitlines()[-3:]
                raise NoBroker(f"{self.kind} did not listen on port {self.port}: {' / '.join(words) or 'no words'}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it politely; with persistence it writes its memory first."""
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

    def wait(self) -> int:
        """Return the child's exit code once it ended by itself."""
        assert self._process is not None, "the broker was not started"
        return self._process.wait()

    def _command(self) -> list[str]:
        if self.kind == "iotcore":
            return [sys.executable, "-m", "edgefleet_server.link.iotcore_process", "--port", str(self.port)]
        program = mosquitto_path()
        assert program is not None  # `available` said so
        path = self._settings.folder / "mosquitto.conf"
        path.write_text(mosquitto_config(self._settings), encoding="utf-8")
        return [program, "-c", str(path)]


def mosquitto_config(settings: Settings) -> str:
    """Return Mosquitto's configuration: open, so on loopback only, and with the limits that were measured."""
    lines = [
        "# Made by EdgeFleet for a demo or a test. Open to every program on this machine, and to no other machine.",
        f"listener {settings.port} 127.0.0.1",
        "allow_anonymous true",
        *limits.lines(),
        f"persistence {'true' if settings.persistence else 'false'}",
    ]
    # Started by root it would become the user `mosquitto`, who may not write into the folder and has lost its lifeline:
    # the kernel forgets the signal when a process becomes somebody else.
    lines.append(f"user {owner()}")
    if settings.persistence:
        lines += [f"persistence_location {settings.folder}/", "autosave_interval 60"]
    return "\n".join(lines) + "\n"


def free_port() -> int:
    """Return a TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Return whether somebody accepts connections on `port` of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
