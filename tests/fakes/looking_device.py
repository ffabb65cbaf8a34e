"""A fake device that looks for real, at a signed repository that is published to its broker."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.seams import Looked, LookRequest, Missing, Refused
from edgefleet_protocol.codec import encode
from edgefleet_protocol.dsse import seal
from edgefleet_protocol.rollout import DeviceAssignment
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE
from tests.fakes.clock import FakeClock
from tests.fakes.device import DEVICE, FLEET, ROOT, FakeDevice
from tests.fakes.signed_world import World

TOPICS = Topics(FLEET)


@dataclass
class CountingLooker:
    """The real look, and what it answered."""

    scratch: Path
    answers: list[Looked | Missing | Refused] = field(default_factory=list)
    looked_at_s: float = 0.0

    def look(self, request: LookRequest) -> Looked | Missing | Refused:
        self.answers.append(InProcessLooker(self.scratch).look(request))
        return self.answers[-1]


def publish(device: FakeDevice, world: World, without: tuple[str, ...] = ()) -> None:
    """Make all of the world retained, but for some names; the timestamp last."""
    for digest, data in world.targets.items():
        if digest not in without:
            device.broker.publish(TOPICS.target(digest), data, retain=True)
    for name, data in sorted(world.held.items(), key=lambda row: row[0] in ("head", "timestamp.json")):
        if name not in without:
            device.broker.publish(TOPICS.trust(name), data, retain=True)


def assign(device: FakeDevice, world: World) -> None:
    signer = world.keys["commands"]
    row = encode(DeviceAssignment(device=DEVICE, number=1, region="eu-west"))
    envelope = seal(
        DEVICE_ASSIGNMENT_TYPE, row, signer.public_key.keyid, lambda data: bytes.fromhex(signer.sign(data).signature)
    )
    device.broker.publish(TOPICS.of_device(DEVICE, "assignment"), envelope, retain=True)


def answers(device: FakeDevice) -> list[str]:
    """Return what the looks since the last call answered."""
    looker = device.looker
    assert isinstance(looker, CountingLooker)
    kinds = [type(answer).__name__ for answer in looker.answers]
    looker.answers.clear()
    return kinds


def looking_device(world: World, scratch: Path) -> FakeDevice:
    """Return a device in eu-west that trusts `world`, by the machine's clock."""
    one = FakeDevice(clock=FakeClock(wall=time.time()))
    one.looker = CountingLooker(scratch)  # type: ignore[assignment]
    one.disk.write(ROOT, world.anchor)
    assign(one, world)
    return one
