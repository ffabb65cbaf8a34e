"""A whole fleet of real processes: broker, server, agents with their workers, and a real trust repository."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from edgefleet_agent.hardware import samples
from edgefleet_protocol.manifest import LatencyRow, Release, Requirement
from edgefleet_protocol.topics import Topics

from .broker_process import BrokerProcess
from .intruder import Intruder
from .load import Load
from .package import make_release, write_package
from .parts import Parts, children, run
from .repository import FakeRepository, make_repository, publish_release
from .tiny_model import IR_VERSION, OPSET

PATIENCE_S = 240.0
"""It only ends a test that hangs: the machine may be busy with other things."""
LOOK_EVERY_S = 0.1
FETCH_PATIENCE_S = 5.0
"""Of the agents: a broker on this very machine is not silent for as long as a mobile link."""

WEST, SOUTH = "eu-west", "ap-south"


@dataclass(frozen=True)
class Member:
    """One device. `board` is a sample of edgefleet_agent.hardware.samples, or an absolute path to another root."""

    id: str
    board: str = "pi4"
    region: str = WEST

    @property
    def root(self) -> Path:
        """Where its hardware files lie."""
        return Path(self.board) if self.board.startswith("/") else samples.path(self.board)


FOUR = (
    Member("zero", "pi-zero-2-w", WEST),
    Member("five", "pi5", WEST),
    Member("four", "pi4", SOUTH),
    Member("orin", "orin-nano", SOUTH),
)
"""Two regions; with and without a battery, little and much memory, old and new instruction sets."""

MEMORY = 600_000_000
SMALL_MEMORY = 200_000_000
"""A Pi Zero 2 W has no more to spare."""
VARIANTS: dict[str, Requirement] = {
    "wide": Requirement(ir=IR_VERSION, opset=OPSET, memory_bytes=MEMORY, load_s=60.0),
    "dot": Requirement(ir=IR_VERSION, opset=OPSET, memory_bytes=MEMORY, load_s=60.0, features=("asimddp",)),
    "small": Requirement(ir=IR_VERSION, opset=OPSET, memory_bytes=SMALL_MEMORY, load_s=60.0),
}
"""In falling accuracy. `wide` needs much memory, `dot` an instruction set; `small` runs everywhere."""
CLASSES = ("pi-zero-2-w", "pi4", "pi5", "orin-nano")
GUESSED = {
    variant: tuple(LatencyRow(hardware_class=kind, p50_s=seconds, how="predicted") for kind in CLASSES)
    for variant, seconds in (("wide", 0.020), ("dot", 0.005), ("small", 0.010))
}

POLICIES: dict[str, dict[str, Any]] = {
    WEST: {"objective": "accuracy", "telemetry_interval_s": 1.0},
    SOUTH: {"objective": "latency", "telemetry_interval_s": 1.0},
}

Spoil = Callable[[Release, dict[str, bytes]], tuple[Release, dict[str, bytes]]]


class Fleet:
    """`with Fleet(FOUR) as fleet:` starts all, and gives every device its region. What it needs is asked of the server's API."""

    def __init__(
        self,
        members: Sequence[Member],
        *,
        broker: str = "mosquitto",
        persistence: bool = False,
        policies: Mapping[str, Mapping[str, Any]] = POLICIES,
        reserve_bytes: int = 1_000_000,
        state_folders: Mapping[str, Path] | None = None,
        environments: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        # Not pytest's folder: the path of a Unix socket may have 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ef-"))
        self.members = {member.id: member for member in members}
        self.parts = Parts(self.folder / "logs")
        self.broker = BrokerProcess(self.folder / "broker", broker, persistence=persistence)
        self._policies, self._reserve_bytes = policies, reserve_bytes
        self._state_folders, self._environments = state_folders or {}, environments or {}
        self._seeds: dict[tuple[str, str], int] = {}
        self._http = httpx.Client(timeout=60.0)

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException as error:
            error.add_note(self.words())
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End every process; the folder goes too."""
        self.parts.stop_all()
        self.broker.stop()
        self._http.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin(self) -> None:
        self.trust: FakeRepository = self._make_repository()
        self.topics = Topics(self.trust.repository.fleet)
        self._write_configurations()
        self.broker.start()
        self.start_server()
        for member in self.members.values():
            self.start_agent(member.id)
        for member in self.members.values():
            self._put(f"/v1/devices/{member.id}/assignment", {"region": member.region})
        self.until("every device is in its region", lambda: all(self._is_at_home(name) for name in self.members))

    def _make_repository(self) -> FakeRepository:
        return make_repository(self.folder, regions=tuple(self._policies))

    def _is_at_home(self, name: str) -> bool:
        document = self.device(name)["document"]
        return bool(document and document["region"] == self.members[name].region and document["hardware"])

    # --- processes

    def start_server(self) -> None:
        """Start the server and wait until it answers and has its broker."""
        environment = {"EDGEFLEET_PASSPHRASE_FILE": str(self.trust.passphrase_file)}
        self.parts.start("server", ["edgefleet", "server", "run", "--config", str(self._server_toml)], environment)
        self.until("the server has its broker", lambda: self.get("/healthz")["broker_connected"])

    def start_agent(self, name: str) -> None:
        """Start a device's agent."""
        environment = {"OMP_NUM_THREADS": "1", **self._environments.get(name, {})}
        self.parts.start(name, ["edgefleet", "agent", "run", "--config", str(self.agent_toml(name))], environment)

    def workers(self, name: str) -> dict[int, list[str]]:
        """Return a device's workers: process id to command line, which ends with release and variant."""
        every = children(self.parts.pid(name))
        return {pid: line for pid, line in every.items() if any("worker" in word for word in line)}

    def kill_workers(self, name: str, release: str) -> int:
        """Kill the workers that serve or try `release`; return how many there were."""
        found = [pid for pid, line in self.workers(name).items() if release in line]
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return len(found)

    # --- releases

    def release(
        self,
        model: str = "fashion",
        *,
        variants: Mapping[str, Requirement] = VARIANTS,
        ballast: int = 0,
        guesses: bool = True,
        spoil: Spoil | None = None,
    ) -> str:
        """Make, sign and publish the next release of `model`; return its name.

        guesses: whether it says how long each variant may take. spoil: what is done to it before it is signed.
        """
        seed = 1000 * len(self._seeds) + 1
        made, files = make_release(
            model,
            tuple(variants),
            seed=seed,
            ballast=ballast,
            requires=variants,
            latency={name: GUESSED.get(name, ()) for name in variants} if guesses else None,
        )
        if spoil is not None:
            made, files = spoil(made, files)
        package = self.folder / "packages" / f"{model}-{seed}"
        write_package(package, made, files)
        name = publish_release(self.trust, package)
        for number, variant in enumerate(variants):
            self._seeds[name, variant] = seed + number
        self.until(f"{name} is listed", lambda: any(row["release"] == name for row in self.items("/v1/releases")))
        return name

    def seed_of(self, release: str, variant: str) -> int:
        """Return the seed of the tiny model that a release's variant is."""
        return self._seeds[release, variant]

    # --- the API

    def get(self, path: str) -> Any:
        """Return what the API answers."""
        answer = self._http.get(self.url + path)
        answer.raise_for_status()
        return answer.json()

    def items(self, path: str) -> list[Any]:
        """Return the rows of the first page of a list."""
        return list(self.get(path)["items"])

    def _put(self, path: str, body: Mapping[str, Any]) -> None:
        self._http.put(self.url + path, json=body).raise_for_status()

    def begin(self, release: str, regions: Sequence[str] = (), *, probation_s: float = 1.0, **fields: Any) -> Any:
        """Start a rollout; return its plans. `fields` are further ones of the body of POST /v1/rollouts."""
        body = {"release": release, "regions": list(regions), **fields}
        body["probation"] = {"seconds": probation_s, "min_requests": 5, **body.get("probation", {})}
        answer = self._http.post(self.url + "/v1/rollouts", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["regions"]

    def roll_out(self, release: str, regions: Sequence[str] = (), **fields: Any) -> None:
        """Start a rollout and wait until it is complete."""
        self.begin(release, regions, **fields)
        self.until_complete(release, regions)

    def until_complete(self, release: str, regions: Sequence[str] = ()) -> None:
        """Wait until a rollout is complete in every region, or in those named."""
        for region in regions or tuple(self._policies):
            self.until(f"{release} is complete in {region}", self._ended, release, region)
            row = self.rollout(region, release)
            assert row["status"] == "complete", f"{release} in {region}: {row['status']}: {row['why']}"

    def _ended(self, release: str, region: str) -> bool:
        return self.rollout(region, release)["status"] in ("complete", "gone-back", "paused")

    def rollout(self, region: str, release: str) -> dict[str, Any]:
        """Return the newest rollout of a release in a region."""
        rows = [row for row in self.items(f"/v1/rollouts?region={region}&past=true") if row["release"] == release]
        newest: dict[str, Any] = max(rows, key=lambda row: row["id"])
        return newest

    def device(self, name: str) -> dict[str, Any]:
        """Return what the server knows of a device; an empty document where it was never heard of."""
        answer = self._http.get(f"{self.url}/v1/devices/{name}")
        if answer.status_code == 404:
            return {"document": None, "models": [], "online": False}
        answer.raise_for_status()
        shown: dict[str, Any] = answer.json()
        return shown

    def model(self, name: str, model: str = "fashion") -> dict[str, Any]:
        """Return a device's model as the server shows it; an empty one where there is none."""
        return next((row for row in self.device(name)["models"] if row["model"] == model), {})

    def runs(self, name: str, release: str) -> bool:
        """Return whether a device serves a release and has proven it, as the server knows."""
        row = self.model(name, release.partition("/")[0])
        return bool(row) and row["release"] == release and row["proven"]

    def says(self, name: str, words: str, model: str = "fashion") -> bool:
        """Return whether a device says these words of what it does or waits for, as the server knows."""
        return words in self.model(name, model).get("why", "")

    def told(self, name: str, kind: str, words: str) -> bool:
        """Return whether an event of a kind with these words came from a device."""
        return any(words in text for text in self.events(name, kind))

    def events(self, name: str, kind: str) -> list[str]:
        """Return the texts of a device's events of one kind, newest first."""
        return [row["text"] for row in self.items(f"/v1/events?device={name}&limit=1000") if row["kind"] == kind]

    def went_back(self, region: str, release: str) -> bool:
        """Return whether a region has gone back from a release."""
        return bool(self.rollout(region, release)["status"] == "gone-back")

    # --- on the device

    def status(self, name: str) -> dict[str, Any]:
        """Return the state that `edgefleet agent status` prints."""
        return dict(self._agent("status", name)["state"])

    def explain(self, name: str, model: str = "fashion") -> dict[str, Any]:
        """Return one model's table, as `edgefleet agent explain` prints it."""
        return next(row for row in self._agent("explain", name)["models"] if row["model"] == model)

    def _agent(self, verb: str, name: str) -> dict[str, Any]:
        done = run(["edgefleet", "agent", verb, "--config", str(self.agent_toml(name)), "--json"])
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def load(self, name: str, model: str = "fashion") -> Load:
        """Return an application on a device, to be entered."""
        return Load(self.agent_toml(name).parent / "run" / f"{model}.sock", model, self.seed_of)

    def intruder(self) -> Intruder:
        """Return one more client of the broker, to be entered."""
        return Intruder(self.broker.port)

    # --- waiting

    def until(self, what: str, holds: Callable[..., object], *arguments: object) -> None:
        """Wait until `holds(*arguments)`; fail when a part ends by itself. A server that does not answer holds nothing yet."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                if holds(*arguments):
                    return
            except httpx.TransportError:
                pass
            self.parts.check()
            assert time.monotonic() < end, f"in {PATIENCE_S:g} s this did not come: {what}"
            time.sleep(LOOK_EVERY_S)

    def words(self) -> str:
        """Return the ends of all logs and what the server last knew, for a person who reads a failed test."""
        try:
            known = [
                f"{row['region']} {row['release']} {row['status']}: {row['why']}" for row in self.items("/v1/rollouts")
            ]
            for device in self.items("/v1/devices"):
                known.append(f"{device['id']} online={device['online']} trust problem: {device['trust_problem']}")
                for row in device["models"]:
                    known.append(
                        f"  {row['model']} serves {row['release']} {row['variant']}; {row['phase']}: {row['why']}"
                    )
            for row in self.items("/v1/events?limit=60"):
                known.append(f"{row['device']} {row['kind']}: {row['text']}")
        except (httpx.HTTPError, RuntimeError) as error:
            known = [f"the server does not say: {error}"]
        return "\n".join([self.parts.tails(), "--- what the server knows", *known])

    # --- configuration

    def _broker_lines(self) -> list[str]:
        return [f"[broker]\nport = {self.broker.port}\nopen = true"]

    @property
    def _server_toml(self) -> Path:
        return self.folder / "server.toml"

    def agent_toml(self, name: str) -> Path:
        """Return a device's configuration file."""
        return self.folder / name / "agent.toml"

    def _write_configurations(self) -> None:
        port = BrokerProcess(self.folder / "unused").port  # a free one
        self.url = f"http://127.0.0.1:{port}"
        lines = [
            'repository = "repository"',
            'keys = "keys"',
            'data = "server"',
            *self._broker_lines(),
            f"[http]\nport = {port}\nopen = true",
            "[rollouts]\ntick_s = 0.2",
        ]
        for region, policy in self._policies.items():
            lines += [f"[regions.{region}.policy]", *(f"{key} = {json.dumps(value)}" for key, value in policy.items())]
        self._server_toml.write_text("\n".join(lines) + "\n")
        for member in self.members.values():
            home = self.agent_toml(member.id).parent
            home.mkdir()
            lines = [
                f'fleet = "{self.trust.repository.fleet}"\ndevice = "{member.id}"',
                f'root = "{self.trust.folder}/metadata/1.root.json"',
                f'state = "{self._state_folders.get(member.id, home / "state")}"\nrun = "run"',
                f'[broker]\nhost = "127.0.0.1"\nport = {self.broker.port}',
                f'[hardware]\nroot = "{member.root}"\nmachine = "{samples.MACHINE}"',
                f"[fetch]\npatience_s = {FETCH_PATIENCE_S}",
                f"[limits]\nreserve_bytes = {self._reserve_bytes}",
            ]
            self.agent_toml(member.id).write_text("\n".join(lines) + "\n")
