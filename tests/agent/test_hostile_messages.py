"""Whatever a broker sends: the agent turns on, stays within its bounds, believes nothing, and comes back to the honest state."""

import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_agent.knowledge import MAX_HELD, MAX_HELD_BYTES
from edgefleet_agent.seams import Message
from edgefleet_protocol.codec import sha256_hex
from tests.fakes.device import DEVICE, FakeDevice
from tests.fakes.hostile import hostile
from tests.fakes.looking_device import TOPICS, looking_device, publish
from tests.fakes.signed_world import World

WORLD = World()
WORLD.release_everywhere()


def some_topic(device: FakeDevice, dice: random.Random) -> str:
    """Return a topic of ours, of somebody else, or of nobody."""
    return dice.choice(
        [
            *device.link.topics,
            TOPICS.trust("head"),
            TOPICS.trust("timestamp.json"),
            TOPICS.trust(f"{dice.randrange(1, 99)}.{dice.choice(['root', 'snapshot', 'releases', 'x'])}.json"),
            TOPICS.target(f"{dice.randrange(2**64):064x}"),
            TOPICS.chunk(f"{dice.randrange(2**64):064x}"),
            TOPICS.of_device(DEVICE, "assignment"),
            TOPICS.of_device(DEVICE, "command"),
            TOPICS.of_device("pi-2", "assignment"),
            f"{TOPICS.prefix}/trust/../head",
            f"{TOPICS.prefix}/" + "x" * 5000,
            "",
            "$SYS/broker/clients",
        ]
    )


def some_payload(device: FakeDevice, dice: random.Random) -> bytes:
    """Return bytes that are hostile, or right ones under a name that is not theirs."""
    honest = [*WORLD.held.values(), *WORLD.targets.values(), *device.broker.retained.values()]
    if dice.random() < 0.2:
        return dice.choice(honest)
    if dice.random() < 0.1:
        return bytes(dice.choice((0, 70_000, 1_000_001)))
    return hostile(dice.choice(honest) or b"{}", dice.randrange(2**32))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_sequence_of_messages_breaks_a_turn_or_is_believed_and_the_honest_state_ends_it(seed: int) -> None:
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        device = looking_device(WORLD, Path(scratch))
        if dice.random() < 0.5:
            publish(device, WORLD)
        device.boot().run(turns=3)
        for _ in range(12):
            for _ in range(dice.randrange(1, 12)):
                device.link.inbox.append(Message(some_topic(device, dice), some_payload(device, dice)))
            device.turn()
        knowledge = device.agent.knowledge
        held = [*knowledge.metadata.values(), *knowledge.targets.values()]
        assert len(held) <= MAX_HELD + 2 and sum(map(len, held)) <= MAX_HELD_BYTES
        trust = device.agent.store.facts.trust
        for role, version in trust.verified.items():
            assert version <= WORLD.roles[role].signed.version
        assert set(trust.manifests) <= set(WORLD.targets)
        # The honest hub again: what it publishes has a new timestamp, as every day.
        WORLD.online_round()
        publish(device, WORLD)
        goal = sha256_hex(WORLD.held["timestamp.json"])
        device.run(until=lambda one: one.agent.store.facts.trust.timestamp_sha256 == goal, turns=3000)
        assert device.agent.knowledge.refused is None
