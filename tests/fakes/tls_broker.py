"""A real Mosquitto on the configuration that the product makes, with an authority, a revocation list and certificates.

`with TlsBroker(tmp_path, fleet="demo") as broker:` listens on `broker.port` of 127.0.0.1 (and `localhost`).
`broker.certificate("dev-a")` returns a `Pair` of paths; `broker.revoke(pair)` signs a new list; `broker.reload()` is SIGHUP.
The authority lies in `folder/pki`: `ca.pem`, `ca.key`, `crl.pem`, `server.pem`, `server.key`, `hub.pem`, `hub.key`.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgefleet_protocol.topics import Topics
from edgefleet_server.broker.attempt import speaks_tls
from edgefleet_server.broker.mosquitto import Settings
from edgefleet_server.broker.place import find_plugin, write_configuration
from edgefleet_server.link.embedded import free_port, mosquitto_path

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    name: str
    certificate: Path
    key: Path
    serial: int


class TestAuthority:
    """A certificate authority in a folder. P-256, notBefore 1970, as the product's own."""

    __test__ = False

    def __init__(self, folder: Path, name: str = "EdgeFleet test authority") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.ca = folder / "ca.pem"
        self.crl = folder / "crl.pem"
        self._revoked: list[int] = []
        certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(EPOCH)
            .not_valid_after(_now() + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(folder / "ca.key", self._key)
        self.list_revoked()

    def issue(
        self,
        name: str,
        *,
        server: bool = False,
        file: str | None = None,
        not_before: datetime = EPOCH,
        not_after: datetime | None = None,
    ) -> Pair:
        """Return a new certificate for `name`, in files called `file` (default: `name`)."""
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(not_before)
            .not_valid_after(not_after or _now() + timedelta(days=90))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        if server:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        pem = self.folder / f"{file or name}.pem"
        pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(pem.with_suffix(".key"), key)
        return Pair(name, pem, pem.with_suffix(".key"), serial)

    def revoke(self, serial: int, now: object = None) -> None:
        """Sign a list that also names `serial`."""
        self._revoked.append(serial)
        self.list_revoked()

    def list_revoked(self, next_update: datetime | None = None) -> None:
        """Sign the list anew; it ends at `next_update`, by default in a year."""
        now = datetime(2020, 1, 1, tzinfo=timezone.utc)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._name)
            .last_update(now)
            .next_update(next_update or _now() + timedelta(days=365))
        )
        for serial in self._revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()
            )
        new = self.crl.with_suffix(".new")
        new.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        new.rename(self.crl)


class TlsBroker:
    """Mosquitto with identities, in a process of its own."""

    def __init__(
        self, folder: Path, fleet: str = "demo", *, persistence: bool = False, authority: TestAuthority | None = None
    ) -> None:
        self.folder, self.port = folder, free_port()
        self.topics = Topics(fleet)
        self.authority = authority or TestAuthority(folder / "pki")
        self.ca = self.authority.ca
        self.server = self.authority.issue("localhost", server=True, file="server")
        self.hub = self.authority.issue("hub")
        self.settings = Settings(
            folder=folder / "broker",
            pki=self.authority.folder,
            store=folder / "store",
            plugin=find_plugin(),
            port=self.port,
            listen="127.0.0.1",
            # Started by root it would become the user `mosquitto`, who cannot read here.
            user=pwd.getpwuid(os.getuid()).pw_name,
            persistence=persistence,
        )
        self.log = folder / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TlsBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process that listens."""
        assert self._process is not None, "the broker was not started"
        return self._process.pid

    def start(self, configuration: str | None = None) -> None:
        """Write the configuration, or another one in its place; start on it, and return once the port answers."""
        self.settings.store.mkdir(parents=True, exist_ok=True)
        made = write_configuration(self.settings, self.topics)
        if configuration is not None:
            made[0].write_text(configuration)
        program = mosquitto_path()
        assert program is not None, "these tests need Mosquitto: apt install mosquitto"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [program, "-c", str(self.settings.folder / "mosquitto.conf")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        (self.folder / "broker.pid").write_text(str(self._process.pid))
        deadline = time.monotonic() + 20
        while not speaks_tls(self.port, self.ca):
            if self._process.poll() is not None or time.monotonic() > deadline:
                words = self.log.read_text(errors="replace")[-800:]
                raise RuntimeError(f"mosquitto did not start on its configuration: {words}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it politely."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            return
        process.kill()
        process.wait()

    def reload(self) -> None:
        """Have it read its certificates, revocation list and access list anew."""
        os.kill(self.pid, signal.SIGHUP)

    def allow_bridge(self, name: str) -> None:
        """Let another broker with this certificate's name pass on what is said here."""
        self.settings = replace(self.settings, bridges=(*self.settings.bridges, name))
        write_configuration(self.settings, self.topics)
        self.reload()

    def certificate(self, name: str, **more: object) -> Pair:
        """A device's certificate."""
        return self.authority.issue(name, **more)  # type: ignore[arg-type]

    def revoke(self, pair: Pair) -> None:
        """Sign a list that names it; the broker knows of it after `reload`."""
        self.authority.revoke(pair.serial)

    def client(self, pair: Pair | None, **more: object) -> TlsClient:
        """A client with this certificate, connected by `open()` or a `with`."""
        return TlsClient(self.port, self.ca, pair, **more)  # type: ignore[arg-type]


class TlsClient:
    """A plain client that keeps what comes, and says why it could not connect."""

    def __init__(
        self,
        port: int,
        ca: Path,
        pair: Pair | None,
        *,
        client_id: str = "",
        username: str | None = None,
        will: tuple[str, bytes] | None = None,
        keepalive_s: int = 60,
        mqtt5: bool = True,
    ) -> None:
        """mqtt5: its acknowledgements say whether a publication was allowed; the product itself speaks 3.1.1."""
        self.messages: list[tuple[str, bytes, bool]] = []
        self.why = "no answer"
        self._port, self._keepalive_s = port, keepalive_s
        self._answers: dict[int, str] = {}
        protocol = paho.MQTTv5 if mqtt5 else paho.MQTTv311
        self.paho = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, reconnect_on_failure=False
        )
        if pair is None:
            self.paho.tls_set(str(ca))
        else:
            self.paho.tls_set(str(ca), str(pair.certificate), str(pair.key))
        if username is not None:
            self.paho.username_pw_set(username, "x")
        if will is not None:
            self.paho.will_set(*will, qos=1, retain=True)
        self.connected = False
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_message = lambda c, u, m: self.messages.append((m.topic, bytes(m.payload), m.retain))
        self.paho.on_publish = lambda c, u, mid, reason, p: self._answers.__setitem__(mid, str(reason))
        self.paho.on_subscribe = lambda c, u, mid, reasons, p: self._answers.__setitem__(mid, str(reasons[0]))

    def __enter__(self) -> TlsClient:
        assert self.open(), f"the broker refused: {self.why}"
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, timeout_s: float = 10.0) -> bool:
        """Return whether the broker let it in."""
        try:
            self.paho.connect("127.0.0.1", self._port, keepalive=self._keepalive_s)
        except OSError as error:
            self.why = str(error)
            return False
        self.paho.loop_start()
        deadline = time.monotonic() + timeout_s
        while not self.connected and self.why == "no answer" and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.connected

    def close(self) -> None:
        """Go politely."""
        self.paho.disconnect()
        self.paho.loop_stop()

    def cut(self) -> None:
        """Go without a word, so that the will is sent."""
        sock = self.paho.socket()
        self.paho.loop_stop()
        if sock is not None:
            sock.close()

    def publish(self, topic: str, payload: bytes = b"x", *, retain: bool = False) -> str:
        """Return the broker's answer in words: `Success`, `No matching subscribers`, `Not authorized`, or `no answer`."""
        return self._answer(self.paho.publish(topic, payload, qos=1, retain=retain).mid)

    def subscribe(self, topic: str, qos: int = 0) -> str:
        """Return the broker's answer in words. Mosquitto grants all and sends what is allowed."""
        _, mid = self.paho.subscribe(topic, qos)
        return self._answer(mid or 0)

    def received(self, topic: str) -> list[bytes]:
        """The payloads of a topic."""
        return [payload for name, payload, _ in list(self.messages) if name == topic]

    def _answer(self, mid: int) -> str:
        deadline = time.monotonic() + 10
        while mid not in self._answers:
            if not self.connected:
                return "disconnected"
            if time.monotonic() > deadline:
                return "no answer"
            time.sleep(0.002)
        return self._answers.pop(mid)

    def _on_connect(
        self, client: object, userdata: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        self.connected = not reason.is_failure
        self.why = "" if self.connected else str(reason)

    def _on_disconnect(
        self, client: object, userdata: object, flags: object, reason: object, properties: object
    ) -> None:
        self.connected = False
        self.why = f"disconnected: {reason}"


def wait_until(what: str, happens: object, timeout_s: float = 20.0) -> None:
    """Return once `happens()` is true; fail with `what` otherwise."""
    deadline = time.monotonic() + timeout_s
    while not happens():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


def names_in(messages: Sequence[tuple[str, bytes, bool]]) -> set[str]:
    """The topics of what came."""
    return {topic for topic, _, _ in list(messages)}


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign, key_cert_sign=sign, crl_sign=sign, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path.chmod(0o600)
