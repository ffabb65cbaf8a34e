"""The look at an honest repository: what it asks for, what it gives back, and that a cache never matters."""

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from edgefleet_agent.look_wire import MAX_BYTES, decode_answer, decode_request, encode_request
from edgefleet_agent.looker import ChildLooker, LookFailed
from edgefleet_agent.seams import Looked, LookRequest, Memory, Missing, Refused
from edgefleet_protocol import codec
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Rollout
from tests.fakes.signed_world import Device, World, this_moment


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def device(world: World, tmp_path: Path) -> Device:
    return Device(root=world.anchor, scratch=tmp_path)


def test_a_look_returns_the_region_s_rollout_its_manifests_and_the_command_key(world: World, device: Device) -> None:
    ref = world.release_everywhere()
    looked = device.passes(world)
    assert looked.rollout is not None
    assert codec.decode(looked.rollout, Rollout).region == "eu-west"
    assert codec.decode(looked.manifests[ref.sha256], Release).name == "fashion/1"
    assert [key.keyid for key in looked.command_keys] == [world.keys["commands"].public_key.keyid]
    assert looked.versions == {
        "root": 1,
        "timestamp": 2,
        "snapshot": 2,
        "targets": 1,
        "keys": 1,
        "rollouts-eu-west": 2,
        "releases": 2,
    }
    assert not looked.refused_releases


def test_a_look_asks_for_everything_that_it_can_know_of_at_once(world: World, device: Device) -> None:
    ref = world.release_everywhere()
    looked, rounds = device.fetches(world)
    assert looked.manifests.keys() == {ref.sha256}
    assert [set(row.metadata) for row in rounds[:3]] == [
        {"head", "timestamp.json"},
        {"2.snapshot.json"},
        {"1.targets.json", "1.keys.json", "2.releases.json", "2.rollouts-eu-west.json"},
    ]
    assert [len(row.targets) for row in rounds[3:]] == [2, 1]


def test_the_next_look_asks_only_for_what_changed(world: World, device: Device) -> None:
    world.release_everywhere()
    device.fetches(world)
    world.roll_out("eu-west")
    world.online_round("rollouts-eu-west")
    _, rounds = device.fetches(world, ["head", "timestamp.json"])
    assert [row.metadata for row in rounds if row.metadata] == [("3.snapshot.json",), ("3.rollouts-eu-west.json",)]


def test_roots_that_the_head_tells_of_are_asked_for_together(world: World, device: Device) -> None:
    world.rotate("timestamp")
    world.rotate("snapshot")
    world.online_round()
    answer = device.look({"head": world.held["head"]}, {})
    assert answer == Missing(metadata=("timestamp.json", "2.root.json", "3.root.json"))


def test_each_withheld_file_is_named_exactly_and_the_look_goes_on_once_it_is_there(
    world: World, tmp_path: Path
) -> None:
    world.rotate("timestamp")
    world.release_everywhere()
    needed = ["head", "2.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", "1.keys.json"]
    needed += ["2.releases.json", "2.rollouts-eu-west.json"]
    for name in needed:
        device = Device(root=world.anchor, scratch=tmp_path)
        held = {key: data for key, data in world.held.items() if key != name}
        assert device.look(held, world.targets) == Missing(metadata=(name,)), name
        assert isinstance(device.look(world.held, world.targets), Looked)
    for digest in device.passes(world).manifests:
        device = Device(root=world.anchor, scratch=tmp_path)
        targets = {key: data for key, data in world.targets.items() if key != digest}
        assert device.look(world.held, targets) == Missing(targets=(digest,))
        assert isinstance(device.look(world.held, world.targets), Looked)


def test_without_a_region_the_command_keys_are_verified_all_the_same(world: World, device: Device) -> None:
    world.release_everywhere()
    device.region = None
    looked = device.passes(world)
    assert looked.rollout is None and not looked.manifests
    assert looked.command_keys


def test_a_region_for_which_nobody_may_sign_has_no_wish(world: World, device: Device) -> None:
    world.release_everywhere()
    device.region = "atlantis"
    assert device.passes(world).rollout is None


def test_a_region_s_role_that_has_signed_nothing_yet_is_no_wish(world: World, device: Device) -> None:
    assert device.passes(world).rollout is None


def test_a_rollout_that_names_no_release_needs_no_list_of_releases(world: World, device: Device) -> None:
    world.roll_out("eu-west")
    world.online_round("rollouts-eu-west")
    held = {name: data for name, data in world.held.items() if not name.endswith("releases.json")}
    assert isinstance(device.look(held, world.targets), Looked)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "foreign", "garbage"])
def test_a_damaged_cache_changes_nothing_but_what_is_fetched(world: World, device: Device, damage: str) -> None:
    world.rotate("timestamp")
    world.release_everywhere()
    first = device.passes(world)
    other = World()
    other.rotate("timestamp")
    other.release_everywhere()
    foreign = Device(root=other.anchor, scratch=device.scratch).passes(other).cache
    for name, data in first.cache.items():
        cache = dict(first.cache)
        if damage == "missing":
            del cache[name]
        else:
            cache[name] = {
                "empty": b"",
                "cut": data[: len(data) // 2],
                "foreign": foreign[name],
                "garbage": b"\xff\x00" * 40,
            }[damage]
        device.cache = cache
        assert device.passes(world) == first, name


def test_names_in_the_cache_cannot_lead_out_of_the_scratch_folder(world: World, device: Device) -> None:
    before = device.passes(world)
    device.cache = {**before.cache, "../evil.json": b"x", "/etc/evil.json": b"x", "a/b.json": b"x", "root.json": b"x"}
    assert device.passes(world) == before
    assert not list(device.scratch.iterdir())


def test_a_look_leaves_nothing_in_its_scratch_folder(world: World, device: Device) -> None:
    device.fetches(world)
    world.expire("timestamp", world.now - timedelta(seconds=1))
    world.online_round()
    device.refuses(world, "expired")
    assert list(device.scratch.iterdir()) == []


def test_the_cache_holds_only_what_was_verified_in_this_look(world: World, device: Device) -> None:
    device.cache = {"rollouts-ap-south.json": b"never asked for", "9.root.json": b"nor this"}
    assert not {"rollouts-ap-south.json", "9.root.json"} & device.passes(world).cache.keys()


# The child


def test_a_child_answers_as_the_look_in_this_process_does(world: World, tmp_path: Path) -> None:
    world.release_everywhere()
    near, far = Device(world.anchor, tmp_path), Device(world.anchor, tmp_path, looker=ChildLooker(tmp_path))
    far.now = near.now
    assert far.passes(world) == near.passes(world)
    world.expire("timestamp", world.now - timedelta(seconds=1))
    world.online_round()
    assert far.refuses(world) == near.refuses(world)
    assert far.look({}, {}) == near.look({}, {}) == Missing(metadata=("head", "timestamp.json"))
    assert list(tmp_path.iterdir()) == []


def test_a_child_that_takes_too_long_is_stopped_and_nothing_is_judged(world: World, tmp_path: Path) -> None:
    device = Device(world.anchor, tmp_path, looker=ChildLooker(tmp_path, wall_limit_s=0.001))
    with pytest.raises(LookFailed, match="longer than"):
        device.look(world.held, world.targets)


def test_a_child_that_dies_is_reported_with_its_last_words(world: World, tmp_path: Path) -> None:
    device = Device(world.anchor, tmp_path, looker=ChildLooker(tmp_path))
    device.now = datetime(2026, 1, 1)  # no time zone: a bug of the caller, not a refusal
    with pytest.raises(LookFailed, match="exit code 1"):
        device.look(world.held, world.targets)


def test_the_agent_can_have_a_child_look_without_loading_tuf() -> None:
    script = (
        "import sys, edgefleet_agent.looker\n"
        "print([name for name in ('tuf', 'securesystemslib', 'cryptography', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_request_survives_the_wire() -> None:
    request = LookRequest(
        root=b"r",
        cache={"timestamp.json": b"\x00"},
        memory=Memory(versions={"root": 3}, keyids={"root": ("a", "b")}, floor=this_moment(), floor_keyids=("k",)),
        held={"head": b"{}"},
        targets={},
        region=None,
        now=datetime(1970, 1, 1, tzinfo=timezone.utc),
    )
    assert decode_request(encode_request(request)) == request


def test_a_message_beyond_the_limit_is_not_decoded() -> None:
    with pytest.raises(ValueError, match="limit"):
        decode_answer(bytes(MAX_BYTES + 1))
    with pytest.raises(ValueError):
        decode_answer(b"\xff\xff")


def test_a_refusal_is_words_that_a_person_can_act_on(world: World, device: Device) -> None:
    world.expire("timestamp", world.now - timedelta(seconds=1))
    world.online_round()
    answer = device.look(world.held, world.targets)
    assert isinstance(answer, Refused)
    assert answer.reason == "expired: timestamp.json is expired"
