"""A fleet whose devices enrol: a real authority, the real door, and a Mosquitto that takes nobody without a certificate.

The server itself comes to the broker by a second listener on loopback, without TLS.
"""

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from edgefleet_agent.hardware import samples

from .broker_process import BrokerProcess
from .fleet import FETCH_PATIENCE_S, Fleet, Member
from .parts import run
from .repository import FakeRepository, make_repository

SECRET = "four words of a test"


class TlsBroker(BrokerProcess):
    """`tls_port` for devices, with certificates of the authority in `identity`; `port` for the server."""

    def __init__(self, folder: Path, identity: Path) -> None:
        super().__init__(folder)
        self.tls_port, self.identity = BrokerProcess(folder).port, identity

    def _command(self) -> list[str]:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise RuntimeError("these tests need Mosquitto: apt install mosquitto")
        lines = [
            "per_listener_settings true",
            f"user {pwd.getpwuid(os.getuid()).pw_name}",
            "max_packet_size 300000",
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            f"listener {self.tls_port} 127.0.0.1",
            f"cafile {self.identity}/ca.pem",
            f"crlfile {self.identity}/crl.pem",
            f"certfile {self.identity}/server.pem",
            f"keyfile {self.identity}/server.key",
            "require_certificate true",
            "use_identity_as_username true",
        ]
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        return [program, "-c", str(self.folder / "mosquitto.conf")]


class EnrolledFleet(Fleet):
    """Fleet, with identities. Devices enrol with a token each, and get their region by it."""

    def __init__(
        self,
        members: Sequence[Member],
        environments: Mapping[str, Mapping[str, str]] | None = None,
        *,
        made: datetime | None = None,
    ) -> None:
        """made: when the ceremony took place; default: now. environments: of each device, for all that runs on it."""
        super().__init__(members, environments=environments)
        self._made = made
        self.first_metadata: dict[str, bytes] = {}
        """What the ceremony signed, before the server signed anything."""
        self.identity = self.folder / "identity"
        self.broker: TlsBroker = TlsBroker(self.folder / "broker", self.identity)
        self.enrol_port = BrokerProcess(self.folder / "unused").port
        self.enrol_url = f"https://127.0.0.1:{self.enrol_port}"
        secret = self.folder / "ca-passphrase"
        secret.write_text(SECRET)
        secret.chmod(0o600)

    def start_server(self) -> None:
        """Make the authority where there is none, and start the server with it."""
        os.environ["EDGEFLEET_CA_PASSPHRASE_FILE"] = str(self.folder / "ca-passphrase")
        super().start_server()

    def start_agent(self, name: str) -> None:
        """Have the device enrol, unless it has an identity, and start its agent."""
        state = self.agent_toml(name).parent / "state"
        if not (state / "identity").exists():
            token = self.token(self.members[name].region)
            done = self.enrol(name, token, "--device", name, "--at-boot")
            assert done.returncode == 0, done.stderr
        super().start_agent(name)  # which enrols first, by the device's own clock

    def start_sealed(self, name: str) -> None:
        """Start a device's agent from a sealed card: it enrols itself."""
        super().start_agent(name)

    def token(self, region: str, *options: str) -> str:
        """Return a new token, as the command prints it."""
        done = self.command("server", "enrol-token", "new", "--region", region, *options)
        return done.stdout.strip()

    def enrol(self, name: str, token: str, *options: str) -> "subprocess.CompletedProcess[str]":
        """Run `agent enrol` on a device."""
        file = self.agent_toml(name).parent / "token"
        file.write_text(token)
        file.chmod(0o600)
        where = ["--config", str(self.agent_toml(name)), "--token-file", str(file)]
        return run(["edgefleet", "agent", "enrol", self.enrol_url, *where, *options])

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command on the server's machine; it must succeed."""
        done = run(["edgefleet", *words, "--config", str(self.folder / "server.toml")])
        assert done.returncode == 0, done.stderr
        return done

    def device_log(self, name: str) -> str:
        """Return what a device's agent has printed."""
        return (self.parts.logs / f"{name}.log").read_text(errors="replace")

    def _put(self, path: str, body: Mapping[str, Any]) -> None:
        if not path.endswith("/assignment"):  # enrolling has assigned it
            super()._put(path, body)

    def _make_repository(self) -> FakeRepository:
        repo = make_repository(self.folder, regions=tuple(self._policies), now=self._made)
        self.first_metadata = dict(repo.repository.metadata())
        repo.fixed_now = None
        return repo

    def _write_configurations(self) -> None:
        super()._write_configurations()
        toml = self.folder / "server.toml"
        more = (
            f'[identity]\nfolder = "identity"\n[enrolment]\nport = {self.enrol_port}\n'
            f"broker_port = {self.broker.tls_port}\n"
        )
        toml.write_text(toml.read_text() + more)
        os.environ["EDGEFLEET_CA_PASSPHRASE_FILE"] = str(self.folder / "ca-passphrase")
        self.command("server", "identity", "init", "--host", "127.0.0.1", "--host", "localhost")
        for member in self.members.values():
            lines = [
                f'[hardware]\nroot = "{member.root}"\nmachine = "{samples.MACHINE}"',
                f"[fetch]\npatience_s = {FETCH_PATIENCE_S}",
                f"[limits]\nreserve_bytes = {self._reserve_bytes}",
            ]
            self.agent_toml(member.id).write_text("\n".join(lines) + "\n")


def identity_file(fleet: EnrolledFleet, name: str) -> dict[str, Any]:
    """Return what a device was told."""
    path = fleet.agent_toml(name).parent / "state/identity/enrolment.json"
    told: dict[str, Any] = json.loads(path.read_text())
    return told
