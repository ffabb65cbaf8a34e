"""A real agent process at a real Mosquitto, and the hub's end of it in the attacker's hands."""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType

from edgefleet_agent.link.mqtt import MqttLink
from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.messages import DeviceState, Event, Need
from edgefleet_protocol.rollout import DeviceAssignment
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE
from tests.attacks.report import Broken
from tests.attacks.scene import WEST
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.parts import Parts
from tests.fakes.repository import FakeRepository

DEVICE = "pi-1"
PATIENCE_S = 120.0
"""It only ends an attack that hangs."""


class RealDevice:
    """`with RealDevice(folder, repo) as device:`; `put` writes any topic, `state`, `events` and `needs` are what it said."""

    def __init__(self, folder: Path, repo: FakeRepository) -> None:
        self.folder, self.repo = folder, repo
        self.topics = Topics(repo.repository.fleet)
        self.broker = BrokerProcess(folder / "broker")
        self.parts = Parts(folder / "logs")
        self.state: DeviceState | None = None
        self.events: list[Event] = []
        self.needs: list[Need] = []

    def __enter__(self) -> "RealDevice":
        self.broker.start()
        self.hub = MqttLink("hub", "127.0.0.1", self.broker.port, dice=lambda: 0.1)
        self.hub.start(1, "hub/will", lambda session: b"")
        self.until("the hub connects", lambda: self.hub.connected_session() is not None)
        kinds = ("state", "event", "need")
        self.hub.subscribe([self.topics.of_device(DEVICE, kind) for kind in kinds], qos=1)  # type: ignore[arg-type]
        (self.folder / "root.json").write_bytes(self.repo.root)
        (self.folder / "agent.toml").write_text(
            f'fleet = "{self.topics.fleet}"\ndevice = "{DEVICE}"\nroot = "root.json"\nstate = "state"\nrun = "r"\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {self.broker.port}\n[fetch]\npatience_s = 1.0\n'
            "[limits]\nreserve_bytes = 1000000\n"
        )
        row = encode(DeviceAssignment(device=DEVICE, number=1, region=WEST))
        envelope = self.repo.online.sign_envelope(DEVICE_ASSIGNMENT_TYPE, row)
        self.put({self.topics.of_device(DEVICE, "assignment"): envelope})
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.parts.stop_all()
        self.hub.stop()
        self.broker.stop()

    def start(self) -> None:
        """Start the agent."""
        self.parts.start("agent", ["edgefleet_agent", "run", "--config", str(self.folder / "agent.toml")])

    @property
    def pid(self) -> int:
        """The agent's process id."""
        return self.parts.pid("agent")

    def put(self, topics: Mapping[str, bytes]) -> None:
        """Make payloads retained, in order; return once the broker has them."""
        waiting = {self.hub.publish(topic, payload, retain=True) for topic, payload in topics.items()}

        def taken() -> bool:
            waiting.difference_update(self.hub.acknowledged())
            return not waiting

        self.until("the broker takes what is put", taken)

    def publish(self, held: Mapping[str, bytes], targets: Mapping[str, bytes], without: Iterable[str] = ()) -> None:
        """Give out a whole repository, but for some names, in the order in which nothing refers to what is not there."""
        last = [name for name in held if name.endswith(".snapshot.json")] + ["head", "timestamp.json"]
        names = [name for name in held if name not in last] + [name for name in last if name in held]
        rows = {self.topics.target(name): data for name, data in targets.items() if name not in without}
        self.put(rows | {self.topics.trust(name): held[name] for name in names if name not in without})

    def hear(self) -> None:
        """Take in what the device said."""
        for message in self.hub.receive():
            kind = message.topic.rpartition("/")[2]
            if kind == "state":
                self.state = decode(message.payload, DeviceState)
            elif kind == "event":
                self.events.append(decode(message.payload, Event))
            elif kind == "need":
                self.needs.append(decode(message.payload, Need))

    def serial(self) -> int:
        """Return the number of the rollout that it obeys, as it said last."""
        self.hear()
        return self.state.rollout_serial if self.state is not None else 0

    def problem(self) -> str:
        """Return what it says is wrong with its trust."""
        self.hear()
        return (self.state.trust_problem or "") if self.state is not None else ""

    def asked_for(self, name: str) -> bool:
        """Return whether it told the hub that `name` does not come."""
        self.hear()
        return any(name in (*need.metadata, *need.targets, *need.chunks) for need in self.needs)

    def refused(self, release: str) -> bool:
        """Return whether it told the hub that it refused `release`."""
        self.hear()
        return any(event.kind == "refused" and event.release == release for event in self.events)

    def until(self, what: str, holds: Callable[[], object]) -> None:
        """Wait until something holds; Broken when it does not, or when the agent ends by itself."""
        end = time.monotonic() + PATIENCE_S
        while not holds():
            for_agent = "agent" in self.parts._running and self.parts._running["agent"].poll() is not None
            if for_agent or time.monotonic() > end:
                raise Broken(f"this did not come: {what}. {self.parts.tails(6)}")
            time.sleep(0.02)
