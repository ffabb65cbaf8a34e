"""Hints: a rollout costs one look, a false hint a few subscriptions, and without hints it still converges."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgefleet_agent.hints import MAX_MANIFESTS, Sources, claimed_region, hints
from edgefleet_agent.knowledge import MAX_HINTED_BYTES, PATIENCE_S, Knowledge
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import MAX_ROOT_ROTATIONS
from tests.fakes.clock import FakeClock
from tests.fakes.device import FLEET, ROOT, FakeDevice
from tests.fakes.looking_device import CountingLooker, answers, looking_device, publish
from tests.fakes.signed_world import World

TOPICS = Topics(FLEET)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def device(world: World, tmp_path: Path) -> FakeDevice:
    return looking_device(world, tmp_path)


def until_serial(device: FakeDevice, number: int) -> None:
    def holds(one: FakeDevice) -> bool:
        state = one.state()
        return state is not None and state.rollout_serial == number

    device.run(until=holds)


def test_a_new_device_looks_once_for_its_keys_and_once_for_its_region(world: World, device: FakeDevice) -> None:
    world.release_everywhere()
    publish(device, world)
    device.boot().run(turns=30)
    assert answers(device) == ["Looked", "Looked"]
    assert device.model() is not None


def test_a_new_rollout_costs_exactly_one_look_and_no_waiting(world: World, device: FakeDevice) -> None:
    world.release_everywhere()
    publish(device, world)
    device.boot().run(turns=30)
    answers(device)
    for version in (2, 3):
        world.release_everywhere(version=version)
        began = device.clock.now()
        publish(device, world)
        until_serial(device, world.serial - len(world.regions) + 1)
        assert answers(device) == ["Looked"]
        assert device.looker.looked_at_s - began < PATIENCE_S  # type: ignore[attr-defined]
    device.run(turns=40)
    assert answers(device) == [], "nothing changed, so there is nothing to look at"


def test_what_is_withheld_is_still_asked_for_by_the_look_and_converges_when_it_comes(
    world: World, device: FakeDevice
) -> None:
    publish(device, world)
    device.boot().run(turns=30)
    answers(device)
    ref = world.release_everywhere()
    publish(device, world, without=(ref.sha256,))
    device.run(until=lambda one: one.broker.payloads("/need"))
    assert answers(device) == ["Missing"], "one look after the patience is over, and none while nothing comes"
    device.broker.publish(TOPICS.target(ref.sha256), world.targets[ref.sha256], retain=True)
    device.run(until=lambda one: one.model() is not None)
    assert answers(device) == ["Looked"]


def test_every_single_document_may_come_late(world: World, device: FakeDevice) -> None:
    publish(device, world)
    device.boot().run(turns=30)
    ref = world.release_everywhere()
    late = [name for name in (*world.held, *world.targets) if name not in ("head", "timestamp.json", "1.root.json")]
    for name in late:
        other = FakeDevice(device.broker.copy(), clock=FakeClock(wall=time.time()))
        other.looker = CountingLooker(device.looker.scratch)  # type: ignore[attr-defined,assignment]
        other.disk.write(ROOT, world.anchor)
        publish(other, world, without=(name,))
        topic = TOPICS.trust(name) if name in world.held else TOPICS.target(name)
        other.broker.retained.pop(topic, None)
        other.boot().run(turns=12)
        other.broker.publish(topic, (world.held | world.targets)[name], retain=True)
        other.run(until=lambda one: (one.model() or ref) is not ref, turns=60)
        assert len(answers(other)) <= 6, name


def test_metadata_that_is_refused_is_not_looked_at_again_before_its_time_and_is_then_fetched_afresh(
    world: World, device: FakeDevice
) -> None:
    publish(device, world)
    device.boot().run(turns=30)
    world.release_everywhere()
    name = f"{world.roles['snapshot'].signed.version}.snapshot.json"
    good = world.held[name]
    publish(device, world, without=(name,))
    answers(device)
    device.broker.publish(TOPICS.trust(name), good[:-20] + b" " * 20, retain=True)
    publish(device, world, without=(name,))
    device.run(until=lambda one: (one.state() or None) and one.state().trust_problem is not None)  # type: ignore[union-attr]
    assert answers(device) == ["Refused"]
    while device.clock.monotonic() < device.agent.knowledge.retry_at:
        device.turn()
    assert answers(device) == []
    device.broker.publish(TOPICS.trust(name), good, retain=True)
    device.run(until=lambda one: one.model() is not None)
    assert answers(device)[-1] == "Looked"
    assert device.kinds().count("refused") == 1


def test_metadata_that_has_expired_is_told_of_once_though_its_words_hold_the_time(
    world: World, device: FakeDevice
) -> None:
    publish(device, world)
    device.boot().run(turns=30)
    device.clock.wall += 40 * 86400
    world.online_round()
    publish(device, world)
    device.run(turns=400)
    state = device.state()
    assert state is not None and "expired" in (state.trust_problem or "")
    assert answers(device).count("Refused") > 2
    assert device.kinds().count("refused") == 1


def test_metadata_that_a_stranger_signed_is_refused_in_words_and_told_of_once(world: World, device: FakeDevice) -> None:
    publish(device, world)
    device.boot().run(turns=30)
    world.keys["timestamp"] = World().keys["timestamp"]
    world.online_round()
    publish(device, world)
    device.run(turns=100)
    state = device.state()
    assert state is not None and "not signed by enough of the right keys" in (state.trust_problem or "")
    assert device.kinds().count("refused") == 1


# --- hostile hints


def signed(**fields: object) -> bytes:
    return json.dumps({"signed": fields}).encode()


def chain(names: int = 100_000) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return metadata and targets that name as much as they can."""
    roles = {f"role-{number}.json": {"version": number + 1} for number in range(min(names, 1000))}
    roles |= {f"{role}.json": {"version": 7} for role in ("targets", "releases", "keys", "rollouts-eu-west")}
    rollout = json.dumps(
        {"assignments": [{"release": {"sha256": f"{n:064x}"}} for n in range(min(names, 500))]}
    ).encode()
    held = {
        "head": b'{"root": 999999999}',
        "timestamp.json": signed(meta={"snapshot.json": {"version": 7}}),
        "7.snapshot.json": signed(meta=roles),
        "7.rollouts-eu-west.json": signed(
            targets={"rollouts/eu-west.json": {"hashes": {"sha256": sha256_hex(rollout)}}}
        ),
        "7.keys.json": signed(targets={"keys/commands.json": {"hashes": {"sha256": "../../etc"}}}),
    }
    return held, {sha256_hex(rollout): rollout}


def test_hostile_metadata_full_of_names_hints_at_no_more_than_a_look_could_need() -> None:
    held, targets = chain()
    found = hints(Sources(signed(version=1), {}, held, targets), "eu-west")
    assert len(found.metadata) == MAX_ROOT_ROTATIONS + 2
    assert set(found.metadata) >= {"7.targets.json", "7.releases.json"}
    assert len(found.targets) == MAX_MANIFESTS
    for name in found.metadata:
        TOPICS.trust(name)
    for digest in found.targets:
        TOPICS.target(digest)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        b"null",
        b"7",
        signed(meta=7),
        signed(meta={"snapshot.json": {"version": True}}),
        signed(meta={"snapshot.json": {"version": -1}}),
        signed(meta={"snapshot.json": {"version": 10**12}}),
        signed(meta={"snapshot.json": {"version": "1/../../x"}}),
        b" " * 70_000 + signed(meta={"snapshot.json": {"version": 3}}),
    ],
)
def test_junk_gives_no_hint_and_no_error(junk: bytes) -> None:
    nothing: Mapping[str, bytes] = {}
    found = hints(Sources(junk, {"snapshot.json": junk}, {"timestamp.json": junk, "head": junk}, nothing), "eu-west")
    assert found.metadata == () and found.targets == ()
    assert claimed_region(junk) is None


def test_what_the_cache_has_in_that_version_is_not_asked_for() -> None:
    held, targets = chain(0)
    del held["head"]
    cache = {"targets.json": signed(version=7), "releases.json": signed(version=6)}
    assert hints(Sources(b"", cache, held, targets), "eu-west").metadata == ("7.releases.json",)


def test_hinted_documents_fill_no_more_than_their_share_of_memory() -> None:
    held, targets = chain()
    knowledge = Knowledge()
    knowledge.came("trust", "timestamp.json", held["timestamp.json"])
    knowledge.hint(hints(Sources(signed(version=1), {}, held, targets), None), 0.0)
    for kind, name in list(knowledge.hinted):
        knowledge.came(kind, name, b"x" * 900_000)
    assert sum(map(len, knowledge.metadata.values())) <= MAX_HINTED_BYTES + 1000


def test_what_nobody_asked_for_is_not_kept() -> None:
    knowledge = Knowledge()
    assert knowledge.came("trust", "9.snapshot.json", b"{}") and knowledge.metadata == {}
    assert knowledge.came("target", sha256_hex(b"x"), b"x") and knowledge.targets == {}
