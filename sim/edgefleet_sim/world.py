"""Everything real of a run: Mosquitto, a server, a signed repository, in a folder of its own that goes when the run ends.

The broker is open and on loopback, and states are not signed: what certificates and signatures cost is measured elsewhere.
"""

import os
import pwd
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from edgefleet_server.broker import limits
from edgefleet_server.regions.assigning import Place, issue
from edgefleet_server.signer import OnlineSigner
from edgefleet_server.store.database import Database
from edgefleet_trust.ceremony import init
from edgefleet_trust.online import OnlineKeys
from edgefleet_trust.passphrase import Passphrase
from edgefleet_trust.repository import Repository

from .launcher import Fails
from .orders import name_of
from .processes import Part, python, until
from .releases import publish_package, write_package

FLEET, REGION = "simulated", "sim"
SECRET = b"a simulation has nothing to hide"
PATIENCE_S = 180.0


class NoMosquitto(Exception):
    """The broker is not installed."""


class World:
    """`with World() as world:` has a broker and a server running, and nobody connected."""

    def __init__(
        self,
        *,
        persistence: bool = False,
        telemetry_s: float = 60.0,
        offline_after_s: float = 120.0,
        latency_budget_s: float | None = None,
    ) -> None:
        program = _mosquitto()
        self.folder = Path(tempfile.mkdtemp(prefix="ef-sim-"))
        self._persistence, self._telemetry_s, self._offline_after_s = persistence, telemetry_s, offline_after_s
        self._latency_budget_s = latency_budget_s
        self.broker_port, self.http_port = _free_port(), _free_port()
        self.broker = Part("broker", self._broker_command(program), self.folder)
        secret = self.folder / "passphrase"
        self.server = Part(
            "server",
            python("edgefleet", "server", "run", "--config", str(self.folder / "server.toml")),
            self.folder,
            {"EDGEFLEET_PASSPHRASE_FILE": str(secret), "OMP_NUM_THREADS": "1"},
        )
        secret.write_bytes(SECRET + b"\n")
        secret.chmod(0o600)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}", timeout=120.0)
        self._packages = 0

    def __enter__(self) -> "World":
        try:
            passphrase = Passphrase(SECRET)
            init(
                self.folder / "repository", self.folder / "keys", FLEET, (REGION,), passphrase, passphrase, _now(),
                alone=True,
            )  # fmt: skip
            self._write_server_toml()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, KeyboardInterrupt):
            error.add_note("\n".join(f"--- {part.name}\n{part.tail()}" for part in (self.broker, self.server)))
        self.close()

    def close(self) -> None:
        """End everything; the folder goes too."""
        self.http.close()
        self.server.stop()
        self.broker.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def root(self) -> bytes:
        """What devices are made with."""
        return (self.folder / "repository" / "metadata" / "1.root.json").read_bytes()

    # --- parts

    def start_broker(self) -> None:
        """Start the broker and wait until it listens."""
        self.broker.start()
        until("the broker listens", lambda: self._alive(self.broker) and _listens(self.broker_port), PATIENCE_S)

    def start_server(self) -> None:
        """Start the server and wait until it answers and has its broker."""
        self.server.start()
        until("the server has its broker", lambda: self._alive(self.server) and self._healthy(), PATIENCE_S)

    def _alive(self, part: Part) -> bool:
        code = part.ended()
        if code is not None:
            raise RuntimeError(f"{part.name} ended by itself with {code}")
        return True

    def _healthy(self) -> bool:
        try:
            return bool(self.http.get("/healthz").json()["broker_connected"])
        except (httpx.HTTPError, ValueError, KeyError):
            return False

    # --- the fleet

    def assign(self, numbers: Sequence[int]) -> None:
        """Sign every device's assignment and write it into the database, before the server starts.

        One request for each would be the same rows, minutes later.
        """
        signer = OnlineSigner(self.repository, OnlineKeys.load(self.folder / "keys", SECRET))
        database = Database(self.folder / "server" / "server.sqlite3")
        try:
            with database.write() as connection:
                for number in numbers:
                    name = name_of(number)
                    issue(connection, signer, name, None, Place(REGION), time.time())
        finally:
            database.close()

    @property
    def repository(self) -> Repository:
        """The repository, read anew."""
        return Repository(self.folder / "repository")

    def release(self, fails: Fails = "", size_bytes: int = 100_000) -> str:
        """Publish the next release; return its name. `fails`: how its models behave."""
        self._packages += 1
        package = self.folder / f"package-{self._packages}"
        write_package(package, "fashion", size_bytes, fails)
        return publish_package(self.repository, self.folder / "keys", SECRET, package, _now())

    # --- the API

    def get(self, path: str) -> Any:
        """Return what the API answers; rows, where it answers a page of them."""
        answer = self.http.get(path)
        answer.raise_for_status()
        body = answer.json()
        return body["items"] if isinstance(body, dict) and "items" in body else body

    def begin(self, release: str, stages: Sequence[float], probation_s: float = 5.0, **more: Any) -> None:
        """Start a rollout."""
        body = {
            "release": release,
            "regions": [REGION],
            "stages": list(stages),
            "probation": {"seconds": probation_s, "min_requests": 5},
            **more,
        }
        answer = self.http.post("/v1/rollouts", json=body)
        if answer.status_code != 201:
            raise RuntimeError(f"the server refused the rollout: {answer.status_code} {answer.text[:500]}")

    def rollout(self, release: str) -> dict[str, Any]:
        """Return the newest rollout of a release."""
        rows = [row for row in self.get(f"/v1/rollouts?region={REGION}&past=true") if row["release"] == release]
        newest: dict[str, Any] = max(rows, key=lambda row: row["id"])
        return newest

    # --- configuration

    def _write_server_toml(self) -> None:
        budget = [f"latency_budget_s = {self._latency_budget_s}"] if self._latency_budget_s else []
        lines = [
            'repository = "repository"', 'keys = "keys"', 'data = "server"',
            "[broker]", f"port = {self.broker_port}", "open = true",
            "[http]", f"port = {self.http_port}", "open = true", "[ingest]", "shared = true",
            "[rollouts]", "tick_s = 1.0", f"offline_after_s = {self._offline_after_s}",
            f"[regions.{REGION}.policy]", 'objective = "accuracy"', f"telemetry_interval_s = {self._telemetry_s}",
            *budget,
        ]  # fmt: skip
        (self.folder / "server.toml").write_text("\n".join(lines) + "\n")

    def _broker_command(self, program: str) -> list[str]:
        lines = [
            f"listener {self.broker_port} 127.0.0.1", "allow_anonymous true", *limits.lines(), "sys_interval 0",
            f"persistence {'true' if self._persistence else 'false'}",
        ]  # fmt: skip
        if self._persistence:
            # Started by root it would become the user `mosquitto`, who cannot write here.
            lines += [f"persistence_location {self.folder}/", f"user {pwd.getpwuid(os.getuid()).pw_name}"]
        (self.folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        return [program, "-c", str(self.folder / "mosquitto.conf")]


def _mosquitto() -> str:
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise NoMosquitto("Mosquitto is not installed, and a simulation needs it: apt install mosquitto")
    return program


def _now() -> datetime:
    return datetime.now(UTC)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
