"""A fleet whose devices enrol: the authority, the door and Mosquitto's configuration as the product's commands make them.

The server and the devices come to the broker by their certificates, and nobody else does.
"""

import json
import os
import pwd
import signal
import ssl
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgefleet_agent.hardware import samples
from edgefleet_agent.identity_crypto import request
from edgefleet_server.identity.authority import Authority
from edgefleet_server.identity.csr import read_csr
from edgefleet_server.link.embedded import mosquitto_path
from edgefleet_trust.passphrase import Passphrase

from .broker_process import BrokerProcess
from .fleet import FETCH_PATIENCE_S, WEST, Fleet, Member
from .intruder import Intruder
from .parts import run
from .repository import FakeRepository, make_repository

PASSPHRASE = "EDGEFLEET_CA_PASSPHRASE_FILE"
SECRET = "four words of a test"
LOOPBACK = "127.0.0.1"


class GeneratedBroker(BrokerProcess):
    """Mosquitto on what `edgefleet server broker config` writes into `made`; `pid_file` is how the server reloads it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.made, self.store, self.pid_file = folder / "made", folder / "store", folder / "broker.pid"

    def start(self) -> None:
        """Start it, and say where."""
        self.store.mkdir(parents=True, exist_ok=True)
        super().start()
        assert self._process is not None
        self.pid_file.write_text(str(self._process.pid))

    def reload(self) -> None:
        """Have it read its access list and revocation list anew."""
        os.kill(int(self.pid_file.read_text()), signal.SIGHUP)

    def _command(self) -> list[str]:
        program = mosquitto_path()
        if program is None:
            raise RuntimeError("these tests need Mosquitto: apt install mosquitto")
        return [program, "-c", str(self.made / "mosquitto.conf")]


class EnrolledFleet(Fleet):
    """Fleet, with identities. Devices enrol with a token each, and get their region by it."""

    def __init__(
        self,
        members: Sequence[Member],
        environments: Mapping[str, Mapping[str, str]] | None = None,
        *,
        made: datetime | None = None,
        host: str = LOOPBACK,
    ) -> None:
        """made: when the ceremony took place; default: now. environments: of each device, for all that runs on it.

        host: this machine's address as devices know it.
        """
        super().__init__(members, environments=environments)
        self._made, self._host = made, host
        self._listen = host if host == LOOPBACK else "0.0.0.0"
        self.first_metadata: dict[str, bytes] = {}
        """What the ceremony signed, before the server signed anything."""
        self.identity = self.folder / "identity"
        self.broker: GeneratedBroker = GeneratedBroker(self.folder / "broker")
        self.enrol_port = BrokerProcess(self.folder / "unused").port
        self.enrol_url = f"https://{host}:{self.enrol_port}"
        secret = self.folder / "ca-passphrase"
        secret.write_text(SECRET)
        secret.chmod(0o600)

    def start_server(self) -> None:
        """Make the authority where there is none, and start the server with it."""
        os.environ[PASSPHRASE] = str(self.folder / "ca-passphrase")
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

    def close(self) -> None:
        """End every process."""
        super().close()
        os.environ.pop(PASSPHRASE, None)

    def certificate(self, name: str) -> "tuple[Path, Path]":
        """Return a certificate of the fleet's authority that never enrolled, and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        authority = Authority.load(self.identity, Passphrase(SECRET.encode()))
        issued = authority.issue(read_csr(request(private, name, None)), name, WEST, datetime.now(timezone.utc))
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        files[0].write_text(issued.pem)
        files[1].write_bytes(private)
        return files

    def intruder(self) -> Intruder:
        """Return one who owns the broker, to be entered: its access list gives him everything."""
        access = self.broker.made / "acl"
        rows = [f"user {name}\ntopic readwrite #\n" for name in ("intruder", "intruder-reads")]
        access.write_text("\n".join([access.read_text(), *rows]))
        self.broker.reload()

        def secure(client: paho.Client, name: str) -> None:
            pem, key = self.certificate(name)
            client.tls_set(str(self.identity / "ca.pem"), str(pem), str(key), cert_reqs=ssl.CERT_REQUIRED)

        return Intruder(self.broker.port, secure)

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
        more = f'[identity]\nfolder = "identity"\n[enrolment]\nport = {self.enrol_port}\nhost = "{self._listen}"\n'
        more += f'url = "{self.enrol_url}"\nbroker_host = "{self._host}"\nbroker_port = {self.broker.port}\n'
        toml.write_text(toml.read_text() + more)
        os.environ[PASSPHRASE] = str(self.folder / "ca-passphrase")
        self.command(
            "server",
            "identity",
            "init",
            *(word for name in (LOOPBACK, "localhost", self._host) for word in ("--host", name)),
        )
        # Started by root it would become the user `mosquitto`, who cannot read here.
        where = ["--out", str(self.broker.made), "--store", str(self.broker.store), "--listen", self._listen]
        user = pwd.getpwuid(os.getuid()).pw_name
        self.command("server", "broker", "config", *where, "--port", str(self.broker.port), "--user", user)
        for member in self.members.values():
            lines = [
                f'[hardware]\nroot = "{member.root}"\nmachine = "{samples.MACHINE}"',
                f"[fetch]\npatience_s = {FETCH_PATIENCE_S}",
                f"[limits]\nreserve_bytes = {self._reserve_bytes}",
            ]
            self.agent_toml(member.id).write_text("\n".join(lines) + "\n")

    def _broker_lines(self) -> list[str]:
        made, pid = self.broker.made, self.broker.pid_file
        return [f'[broker]\nport = {self.broker.port}\ncrl = "{made}/crl.pem"\npid_file = "{pid}"']


def identity_file(fleet: EnrolledFleet, name: str) -> dict[str, Any]:
    """Return what a device was told."""
    path = fleet.agent_toml(name).parent / "state/identity/enrolment.json"
    told: dict[str, Any] = json.loads(path.read_text())
    return told
