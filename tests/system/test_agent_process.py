"""The real agent as a process of its own: real broker, real trust, real workers; `status` and `explain` beside it."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgefleet_agent.link.mqtt import MqttLink
from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.messages import DeviceState, Presence
from edgefleet_protocol.rollout import Assignment, DeviceAssignment, Probation
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE
from tests.fakes.repository import FakeRepository, make_package, make_repository, publish_release

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
REGION = "eu-west"


@dataclass
class Fleet:
    """A broker, a repository, a hub that publishes it, and one agent."""

    folder: Path
    repo: FakeRepository
    topics: Topics
    port: int
    broker: "subprocess.Popen[bytes]"
    hub: MqttLink
    seen: dict[str, bytes] = field(default_factory=dict)
    agent: "subprocess.Popen[bytes] | None" = None

    @property
    def config(self) -> Path:
        return self.folder / "agent.toml"

    def publish(self) -> None:
        """Put the whole repository into retained topics, timestamp and head last."""
        repository = self.repo.repository
        for ref in repository.releases().values():
            release, document = repository.manifest(ref)
            self._put(self.topics.target(ref.sha256), document)
            for entry in release.files:
                for chunk in entry.chunks:
                    self._put(self.topics.chunk(chunk.sha256), repository.chunk(chunk.sha256) or b"")
        for digest, data in repository.targets().items():
            self._put(self.topics.target(digest), data)
        for name, data in repository.metadata().items():
            self._put(self.topics.trust(name), data)

    def assign(self, device: str) -> None:
        row = encode(DeviceAssignment(device=device, number=1, region=REGION))
        envelope = self.repo.online.sign_envelope(DEVICE_ASSIGNMENT_TYPE, row)
        self._put(self.topics.of_device(device, "assignment"), envelope)

    def _put(self, topic: str, payload: bytes) -> None:
        number, taken = self.hub.publish(topic, payload, retain=True), set[int]()
        until(lambda: number in taken_by(taken, self.hub.acknowledged()), "the broker takes a message")

    def start(self) -> None:
        """Start the agent as a newcomer does: from elsewhere, with a relative path."""
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(
                [*COMMAND, "run", "--config", f"{self.folder.name}/agent.toml"],
                stderr=log,
                stdout=log,
                cwd=self.folder.parent,
            )

    def latest(self, topic: str) -> bytes | None:
        """Return the last payload that the hub saw on a topic."""
        for message in self.hub.receive():
            self.seen[message.topic] = message.payload
        return self.seen.get(topic)

    def state(self) -> DeviceState | None:
        payload = self.latest(self.topics.of_device("pi-1", "state"))
        return decode(payload, DeviceState) if payload else None

    def runs(self, release: str) -> bool:
        state = self.state()
        rows = [row.running for row in state.models if row.running] if state else []
        return any(row.release == release and row.proven for row in rows)

    def log(self) -> str:
        return (self.folder / "agent.log").read_text()[-2000:]


COMMAND = (sys.executable, "-c", "import sys; from edgefleet_agent.commands import main; sys.exit(main(sys.argv[1:]))")


def taken_by(so_far: set[int], more: set[int]) -> set[int]:
    """Return all numbers that were acknowledged so far."""
    so_far |= more
    return so_far


def until(holds: Callable[[], object], what: str, patience_s: float = 120.0) -> None:
    """Wait until something holds. The patience only ends a test that hangs."""
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, f"it did not happen: {what}"
        time.sleep(0.02)


def ask(fleet: Fleet, verb: str) -> dict[str, Any]:
    done = subprocess.run(
        [*COMMAND, verb, "--config", str(fleet.config), "--json"], capture_output=True, check=True, timeout=60
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = subprocess.Popen([MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    (tmp_path / "trust").mkdir()
    repo = make_repository(tmp_path / "trust")
    name = repo.repository.fleet
    hub = MqttLink("hub", "127.0.0.1", port, dice=lambda: 0.1)
    topics = Topics(name)
    hub.start(1, "hub/will", lambda session: b"")
    until(lambda: hub.connected_session() is not None, "the hub connects")
    hub.subscribe([topics.of_device("pi-1", "state"), topics.of_device("pi-1", "presence")])
    (tmp_path / "root.json").write_bytes(repo.root)
    (tmp_path / "agent.toml").write_text(
        f'fleet = "{name}"\ndevice = "pi-1"\nroot = "root.json"\nstate = "state"\nrun = "run"\n'
        f'[broker]\nhost = "127.0.0.1"\nport = {port}\n[limits]\nreserve_bytes = 1000000\n'
    )
    running = Fleet(tmp_path, repo, topics, port, broker, hub)
    yield running
    if running.agent is not None and running.agent.poll() is None:
        running.agent.send_signal(signal.SIGTERM)
        running.agent.wait(30)
    hub.stop()
    broker.kill()
    broker.wait()


def test_the_agent_installs_serves_and_explains_survives_a_kill_and_stops_cleanly(fleet: Fleet) -> None:
    publish_release(fleet.repo, make_package(fleet.folder, seed=1))
    wish = Assignment(model="fashion", release=fleet.repo.ref("fashion/1"), probation=Probation(seconds=2.0))
    fleet.repo.roll_out(REGION, assignments=(wish,))
    fleet.publish()
    fleet.assign("pi-1")
    fleet.start()
    until(lambda: fleet.runs("fashion/1") or fleet.agent is None or fleet.agent.poll() is not None, "it is proven")
    assert fleet.runs("fashion/1"), fleet.log()

    status, table = ask(fleet, "status"), ask(fleet, "explain")
    assert status["running"] and status["broker"]["connected"] and status["state"]["models"][0]["phase"] == "proven"
    rows = table["models"][0]["choice"]["table"]
    assert [row["verdict"] for row in rows].count("taken") == 1 and all(row["reason"] for row in rows)

    assert fleet.agent is not None
    mapped = Path(f"/proc/{fleet.agent.pid}/maps").read_text()
    assert [name for name in ("numpy", "onnxruntime", "torch") if name in mapped] == [], "they belong into workers"

    second = subprocess.run([*COMMAND, "run", "--config", str(fleet.config)], capture_output=True, timeout=60)
    assert second.returncode == 5 and b"another agent holds" in second.stderr

    assert fleet.agent is not None
    fleet.agent.kill()
    fleet.agent.wait()
    offline = ask(fleet, "status")
    assert not offline["running"] and offline["broker"] is None
    before = fleet.state()
    fleet.start()
    until(lambda: (fleet.state() or before).session != (before.session if before else 0), "it comes back")  # type: ignore[union-attr]
    until(lambda: fleet.runs("fashion/1"), "it serves again")

    fleet.agent.send_signal(signal.SIGTERM)
    assert fleet.agent.wait(30) == 0, fleet.log()
    topic = fleet.topics.of_device("pi-1", "presence")
    until(lambda: not decode(fleet.latest(topic) or b"", Presence).online, "it says goodbye")

    said = (fleet.folder / "agent.log").read_text()
    assert f"device pi-1 of fleet {fleet.topics.fleet}, state {fleet.folder / 'state'}" in said
    assert f"connected to the broker at 127.0.0.1:{fleet.port}" in said
    for kind in ("assigned: region eu-west", "fashion: chosen: ", "fashion: activated: fashion/1", "fashion: proven: "):
        assert said.count(f"\n{kind}") == 1, said
    assert said.endswith("stopping: SIGTERM came\nstopped\n")


def test_a_broker_that_is_not_there_is_told_once_with_its_reason(fleet: Fleet) -> None:
    fleet.broker.kill()
    fleet.broker.wait()
    fleet.start()
    line = f"no broker at 127.0.0.1:{fleet.port}: Connection refused; it is tried again\n"
    until(lambda: line in fleet.log(), "it says so")
    assert fleet.log().count("no broker at") == 1
    until(lambda: (ask(fleet, "status")["broker"] or {}).get("why") == "Connection refused", "status says so too")
    told = ask(fleet, "status")["broker"]
    assert told["address"] == f"127.0.0.1:{fleet.port}" and not told["connected"] and told["for_s"] > 0
