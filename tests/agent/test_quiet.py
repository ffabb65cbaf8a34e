"""When a device looks, and what it keeps of a look that did not pass: nothing changed costs nothing, a root is for ever."""

from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes.device import FakeDevice
from tests.fakes.looking_device import TOPICS, answers, looking_device, publish
from tests.fakes.signed_world import Device, World

DAY_S = 86400


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def device(world: World, tmp_path: Path) -> FakeDevice:
    """A device that has verified a release and its rollout."""
    one = looking_device(world, tmp_path)
    world.release_everywhere()
    publish(one, world)
    one.boot().run(turns=30)
    assert answers(one)[-1] == "Looked" and one.model() is not None
    return one


def problem(device: FakeDevice) -> str:
    state = device.state()
    return (state.trust_problem or "") if state is not None else ""


def test_what_did_not_change_is_not_looked_at_again_not_for_days_and_not_after_a_restart(
    world: World, device: FakeDevice
) -> None:
    for hours in range(0, 6 * 24, 5):
        device.clock.advance(5 * 3600)
        device.broker.cut()  # all that is retained comes again
        device.run(turns=4)
        assert answers(device) == [], f"after {hours} h"
    device.boot().run(turns=20)
    assert answers(device) == []


def test_an_expiry_is_told_when_its_moment_comes_though_nothing_came(world: World, device: FakeDevice) -> None:
    device.clock.advance(7 * DAY_S - 600)
    device.run(turns=20)
    assert answers(device) == [] and problem(device) == ""
    device.clock.advance(600)
    device.run(until=lambda one: "expired: timestamp" in problem(one), turns=10)
    assert answers(device) == ["Refused"]
    device.boot().run(until=lambda one: "expired: timestamp" in problem(one), turns=20)
    assert device.model() is not None, "what it was told to do stands"


def test_a_clock_that_was_ahead_is_forgotten_once_it_is_right(world: World, device: FakeDevice) -> None:
    device.clock.wall += 3650 * DAY_S
    device.run(until=lambda one: "expired" in problem(one))
    device.clock.wall -= 3650 * DAY_S
    device.run(until=lambda one: problem(one) == "")
    assert answers(device)[-1] == "Looked"


def test_s29_a_device_that_wakes_after_all_has_expired_and_two_new_roots_walks_them_and_updates(
    world: World, device: FakeDevice
) -> None:
    device.broker.reachable = False
    device.broker.cut()
    device.clock.advance(400 * DAY_S)
    device.run(until=lambda one: one.agent.looking.knowledge.refused is not None)
    assert "expired" in str(device.agent.knowledge.refused)
    before = device.agent.store.facts.trust.rollout
    world.now += timedelta(days=400)
    for role in world.roles:
        world.expire(role, world.now + timedelta(days=30))
    world.rotate("root")
    world.rotate("timestamp")
    world.rotate("root")
    ref = world.list_release("fashion", 2)
    world.roll_out("eu-west", ref)
    world.online_round("targets", "keys", "releases", "rollouts-eu-west")
    publish(device, world)
    device.broker.reachable = True
    device.run(until=lambda one: problem(one) == "" and one.agent.store.facts.trust.verified.get("root") == 4)
    assert device.boots == 1, "no restart was needed"
    assert device.agent.store.facts.trust.rollout != before
    assert list(device.agent.store.facts.trust.manifests) == [ref.sha256]


@pytest.mark.parametrize("spoiled", ["expired", "withheld"])
def test_a_newer_root_is_kept_although_the_look_did_not_pass(world: World, tmp_path: Path, spoiled: str) -> None:
    """Else who steals the old timestamp key need only withhold the roots that revoke it."""
    device = looking_device(world, tmp_path)
    world.release_everywhere()
    publish(device, world)
    device.boot().run(turns=30)
    thief = World.__new__(World)
    vars(thief).update({name: value for name, value in vars(world).items() if name not in ("held", "keys")})
    thief.held, thief.keys = dict(world.held), dict(world.keys)
    world.rotate("timestamp")
    good = world.roles["timestamp"].signed.expires
    if spoiled == "expired":
        world.expire("timestamp", world.now - timedelta(seconds=1))
    world.online_round()
    snapshot = f"{world.roles['snapshot'].signed.version}.snapshot.json"
    publish(device, world, without=(snapshot,) if spoiled == "withheld" else ())
    device.run(until=lambda one: one.agent.store.facts.trust.versions["root"] == 2)
    # The thief gives out what was before, newly signed with the revoked key, and no root.
    world.expire("timestamp", good)
    thief.online_round()
    thief.head(1)
    device.broker.retained.pop(TOPICS.trust("2.root.json"))
    publish(device, thief, without=("2.root.json",))
    answers(device)
    device.run(until=lambda one: problem(one) != "" or one.broker.payloads("/need"), turns=60)
    assert "Looked" not in answers(device)
    assert device.agent.store.facts.trust.versions["root"] == 2
    world.roles["timestamp"].signed.version += 5
    world.online_round()
    publish(device, world)
    device.run(until=lambda one: one.agent.store.facts.trust.verified["root"] == 2 and problem(one) == "")


def test_roots_that_came_with_something_refused_lead_to_the_same_memory_in_the_next_look(
    world: World, tmp_path: Path
) -> None:
    from edgefleet_agent.seams import Refused

    one = Device(root=world.anchor, scratch=tmp_path)
    one.passes(world)
    world.rotate("snapshot")
    world.expire("timestamp", world.now - timedelta(seconds=1))
    world.online_round()
    answer = one.look(world.held, world.targets)
    assert isinstance(answer, Refused) and answer.roots == {
        "1.root.json": world.anchor,
        "2.root.json": world.held["2.root.json"],
    }
    world.expire("timestamp", world.now + timedelta(days=1))
    world.rotate("snapshot", world.keys["timestamp"])  # not signed by a root key
    world.online_round()
    answer = one.look(world.held, world.targets)
    assert isinstance(answer, Refused) and list(answer.roots) == ["1.root.json", "2.root.json"], (
        "only what was verified"
    )
