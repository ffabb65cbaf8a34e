"""What applications notice of a switch: nothing is lost, how long the longest wait was, and whether memory grows.

A real agent process with its workers, a real trust repository and a real broker (Mosquitto). Two releases are wished in turn;
clients ask all the time, half of them over a connection that they keep, half with a new one for each request, and check
every answer against the release that gave it.

`failed`: requests without a right answer. `asked`: all of them. `worst_stall_ms`: the longest that one request took.
`median_ms`: what one usually took. `switch_s`: from a published wish to its activation, the median.
`memory_ratio`: resident memory of agent and worker after the last switch, over that after a tenth as many of warming up, with
the same release in a worker that has answered as many clients; `agent_ratio`: of the agent alone. Resident, because what
is shared with other processes comes and goes with them.
"""

import argparse
import http.client
import json
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgefleet_agent.link.mqtt import MqttLink
from edgefleet_client import ClientError, Model
from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.messages import DeviceState, ModelState
from edgefleet_protocol.rollout import Assignment, DeviceAssignment, Policy, Probation
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.repository import FakeRepository, make_package, make_repository, publish_release
from tests.fakes.tiny_model import INPUT_NAME, INPUTS, answers, samples

from ._report import report

REGION, DEVICE, MODEL = "eu-west", "switching-1", "fashion"
SEEDS = {"fashion/1": 1, "fashion/2": 2}
PAUSE_S = 0.005
SETTLED = 300
"""Requests after the last switch, before memory is read."""
PATIENCE_S = 120.0
"""It only ends a run that hangs."""


@dataclass
class Counts:
    """What the clients met."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    releases: set[str] = field(default_factory=set)


class Clients:
    """Applications that ask until the end."""

    def __init__(self, path: Path, count: int) -> None:
        self.counts = Counts()
        self._path, self._ending = path, threading.Event()
        ways = [self._keep, self._anew]
        self._threads = [threading.Thread(target=ways[n % 2], daemon=True) for n in range(count)]
        self._inputs = np.asarray(samples(4711, 16), dtype=np.float32)
        self._right = {name: answers(seed, self._inputs.tolist()) for name, seed in SEEDS.items()}

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _keep(self) -> None:
        with Model(MODEL, socket=self._path) as model:
            self._ask(lambda number: _said(model.predict(self._inputs[number])))

    def _anew(self) -> None:
        self._ask(lambda number: _ask_once(self._path, self._inputs[number].tolist()))

    def _ask(self, once: Callable[[int], tuple[str, list[float]]]) -> None:
        number = 0
        while not self._ending.wait(PAUSE_S):
            number = (number + 1) % len(self._inputs)
            began = time.perf_counter()
            try:
                release, said = once(number)
                if said != self._right[release][number]:
                    self.counts.failures.append(
                        f"{release} answered {said} and {self._right[release][number]} is right"
                    )
            except (ClientError, OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.counts.failures.append(f"{type(error).__name__}: {error}")
            else:
                self.counts.releases.add(release)
            self.counts.seconds.append(time.perf_counter() - began)


def _said(prediction: object) -> tuple[str, list[float]]:
    return prediction.release, prediction.array.reshape(-1).tolist()  # type: ignore[attr-defined]


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


def _ask_once(path: Path, row: list[float]) -> tuple[str, list[float]]:
    body = {"inputs": [{"name": INPUT_NAME, "datatype": "FP32", "shape": [1, INPUTS], "data": row}]}
    connection = _Unix(path)
    try:
        connection.request("POST", f"/v2/models/{MODEL}/infer", json.dumps(body))
        response = connection.getresponse()
        said = json.loads(response.read())
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"HTTP {response.status}: {said}")
    data = said["outputs"][0]["data"]
    # As the client library has them: 32 bits each.
    return said["parameters"]["release"], list(struct.unpack(f"<{len(data)}f", struct.pack(f"<{len(data)}f", *data)))


class Device:
    """One real agent, with all that it needs."""

    program: tuple[str, ...] = (sys.executable, "-m", "edgefleet_agent")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = BrokerProcess(folder / "broker", "mosquitto")
        (folder / "trust").mkdir()
        self.repo: FakeRepository = make_repository(folder / "trust")
        self.topics = Topics(self.repo.repository.fleet)
        self._state: DeviceState | None = None
        self._published: dict[str, bytes] = {}
        self.hub: MqttLink | None = None
        self.agent: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Device":
        self.broker.start()
        port = self.broker.port
        self.hub = MqttLink("hub", "127.0.0.1", port)
        self.hub.start(1, "hub/will", lambda session: b"")
        self.until(lambda: self.hub and self.hub.connected_session() is not None, "the hub connects")
        self.hub.subscribe([self.topics.of_device(DEVICE, "state")])
        self.publish_releases()
        row = encode(DeviceAssignment(device=DEVICE, number=1, region=REGION))
        self._put(
            self.topics.of_device(DEVICE, "assignment"), self.repo.online.sign_envelope(DEVICE_ASSIGNMENT_TYPE, row)
        )
        (self.folder / "root.json").write_bytes(self.repo.root)
        (self.folder / "agent.toml").write_text(
            f'fleet = "{self.topics.fleet}"\ndevice = "{DEVICE}"\nroot = "root.json"\nstate = "state"\nrun = "run"\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {port}\n[limits]\nreserve_bytes = 1000000\n'
        )
        self.start_agent()
        return self

    def publish_releases(self) -> None:
        """Put into the repository what may be wished."""
        for seed in SEEDS.values():
            publish_release(self.repo, make_package(self.folder / f"package-{seed}", seed=seed))

    def start_agent(self) -> None:
        """Start the agent, and return at once."""
        with (self.folder / "agent.log").open("ab") as log:
            command = [*self.program, "run", "--config", str(self.folder / "agent.toml")]
            self.agent = subprocess.Popen(command, stdout=log, stderr=log)

    def stop_agent(self) -> None:
        """End it in good order."""
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait(30)

    def __exit__(self, *_: object) -> None:
        self.stop_agent()
        if self.hub is not None:
            self.hub.stop()
        self.broker.stop()

    def wish(self, release: str, policy: Policy | None = None) -> None:
        """Sign and publish that `release` is wished; only what changed is sent."""
        wish = Assignment(model=MODEL, release=self.repo.ref(release), probation=Probation(seconds=0.0))
        self.repo.roll_out(REGION, assignments=(wish,), policy=policy or Policy())
        repository = self.repo.repository
        for ref in repository.releases().values():
            manifest, document = repository.manifest(ref)
            self._put(self.topics.target(ref.sha256), document)
            for chunk in (chunk for entry in manifest.files for chunk in entry.chunks):
                self._put(self.topics.chunk(chunk.sha256), repository.chunk(chunk.sha256) or b"")
        for digest, data in repository.targets().items():
            self._put(self.topics.target(digest), data)
        for name, data in repository.metadata().items():
            self._put(self.topics.trust(name), data)

    def _put(self, topic: str, payload: bytes) -> None:
        if self._published.get(topic) == payload:
            return
        assert self.hub is not None
        self.hub.publish(topic, payload, retain=True)
        self._published[topic] = payload

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait until something holds."""
        end = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > end:
                log = (self.folder / "agent.log").read_text()[-2000:] if self.agent else ""
                raise TimeoutError(f"it did not happen within {PATIENCE_S:.0f} s: {what}\n{log}")
            time.sleep(0.01)

    def models(self) -> tuple[ModelState, ...]:
        """Return what the device last told of its models."""
        assert self.hub is not None
        for message in self.hub.receive():
            self._state = decode(message.payload, DeviceState)
        return self._state.models if self._state else ()

    def runs(self, release: str) -> bool:
        """Whether `release` is active and proven."""
        rows = self.models()
        return any(row.running is not None and row.running.release == release and row.running.proven for row in rows)

    def memory(self) -> tuple[int, int]:
        """Return the resident memory of the agent, and of it with its worker."""
        assert self.agent is not None
        task = Path(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children")
        self.until(lambda: len(task.read_text().split()) == 1, "only the worker that serves is left")
        agent = _resident(str(self.agent.pid))
        return agent, agent + sum(map(_resident, task.read_text().split()))


def _resident(pid: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def measure(switches: int, clients: int, folder: Path) -> tuple[dict[str, float], list[str]]:
    """Return the figures of so many switches under so many clients, and what failed in words."""
    one, two = SEEDS
    with Device(folder) as device:
        switch(device, one)
        path = folder / f"run/{MODEL}.sock"
        with Clients(path, clients) as warming:
            for number in range(max(2, switches // 10) // 2 * 2):  # both releases are tried here, once
                switch(device, (two, one)[number % 2])
            settle(warming)
        before = device.memory()
        with Clients(path, clients) as asking:
            took = [switch(device, (two, one)[number % 2]) for number in range(switches)]
            if switches % 2:
                switch(device, one)
            settle(asking)
        after = device.memory()
        counts = asking.counts
    figures = {
        "switches": switches,
        "asked": len(counts.seconds),
        "failed": len(counts.failures),
        "worst_stall_ms": max(counts.seconds) * 1e3,
        "median_ms": statistics.median(counts.seconds) * 1e3,
        "switch_s": statistics.median(took),
        "memory_ratio": after[1] / before[1],
        "agent_ratio": after[0] / before[0],
        "releases": len(counts.releases),
    }
    return figures, counts.failures


def switch(device: Device, release: str) -> float:
    """Wish `release`, and return after how many seconds it was proven."""
    began = time.monotonic()
    device.wish(release)
    device.until(lambda: device.runs(release), f"{release} is proven")
    return time.monotonic() - began


def settle(clients: Clients) -> None:
    """Let the worker that serves answer some hundred requests, so that two workers are compared at the same age."""
    wanted = len(clients.counts.seconds) + SETTLED
    while len(clients.counts.seconds) < wanted:
        time.sleep(PAUSE_S)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=100, help="default 100")
    parser.add_argument("--clients", type=int, default=4, help="default 4")
    arguments = parser.parse_args()
    # Not below a long path: a Unix socket's may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="switch-"))
    try:
        figures, failures = measure(arguments.switches, arguments.clients, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for words in failures[:5]:
        print(words, file=sys.stderr)
    report("switch", figures)


if __name__ == "__main__":
    main()
