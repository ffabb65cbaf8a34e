"""Whatever comes on the topic of commands, the agent refuses it, counts it, and is as it was."""

import json
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgefleet_protocol.codec import encode
from edgefleet_protocol.dsse import seal
from edgefleet_protocol.messages import Command
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import COMMAND_TYPE
from tests.fakes.device import COMMAND_KEY, COMMAND_PUBLIC, DEVICE, FLEET, fleet

CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "golden/hostile").glob("*.bin"))]
TOPIC = Topics(FLEET).of_device(DEVICE, "command")
ROW = Command(device=DEVICE, number=1, expires_s=1.0, action="ping")


def sealed(payload: bytes) -> bytes:
    return seal(COMMAND_TYPE, payload, COMMAND_PUBLIC.keyid, COMMAND_KEY.sign)


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Return a signed command with some bytes changed or cut."""
    data = bytearray(sealed(encode(ROW)))
    for _ in range(draw(st.integers(1, 4))):
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(1, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=3)
documents = st.dictionaries(
    st.sampled_from([*Command.__struct_fields__, "payload", "payloadType"]), scalars, max_size=9
)
plain = documents.map(lambda row: json.dumps(row).encode())
hostile = st.binary(max_size=300) | plain | plain.map(sealed) | spoiled()
"""Also what the server's own key has signed and is no command: a server of a later version, or one that went wrong."""


def test_hostile_commands_change_nothing_but_counters() -> None:
    device, _ = fleet()
    device.boot().run(lambda it: it.state() is not None and it.agent.store.facts.trust.command_keys)
    device.run(turns=3)
    before = device.agent.store.counters.counters

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(data=hostile)
    def attack(data: bytes) -> None:
        counted = sum(device.agent.commanding.refused.values())
        device.broker.publish(TOPIC, data)
        device.turn()
        assert sum(device.agent.commanding.refused.values()) == counted + 1

    for data in CORPUS:
        attack = example(data=data)(attack)
    attack()
    assert set(device.agent.commanding.refused) <= {"forged", "foreign", "replayed", "late"}
    assert device.agent.store.counters.counters == before
    assert not any(reply.ok for reply in device.replies())
    facts = device.agent.store.facts.facts
    assert facts.models == {} and facts.region == "eu-west"
