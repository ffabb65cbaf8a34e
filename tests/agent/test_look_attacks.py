"""What a thief of the broker, the server, or one key can and cannot make a device believe."""

import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.seams import Looked, LookRequest, Memory, Missing, Refused
from edgefleet_protocol import codec
from edgefleet_protocol.rollout import Assignment, ReleaseRef, Rollout
from edgefleet_protocol.trust import MANIFEST_LIMIT, ROLLOUT_LIMIT, release_path
from tests.fakes.hostile import hostile
from tests.fakes.package import make_release
from tests.fakes.signed_world import Device, World, this_moment

DAY = timedelta(days=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@pytest.fixture
def world() -> World:
    world = World()
    world.release_everywhere()
    return world


@pytest.fixture
def device(world: World, tmp_path: Path) -> Device:
    return Device(root=world.anchor, scratch=tmp_path)


def next_release(world: World) -> ReleaseRef:
    return world.release_everywhere(version=2)


def wished(looked: Looked) -> list[str]:
    assert looked.rollout is not None
    return [row.release.path for row in codec.decode(looked.rollout, Rollout).assignments]


# Replay and rollback


def test_a_replayed_timestamp_is_refused(world: World, device: Device) -> None:
    old = world.held["timestamp.json"]
    next_release(world)
    device.passes(world)
    world.held["timestamp.json"] = old
    device.refuses(world, "rollback", "timestamp")


def test_a_replay_is_refused_even_when_the_cache_was_lost(world: World, device: Device) -> None:
    old = dict(world.held)
    next_release(world)
    device.passes(world)
    device.cache = {}
    world.held = old
    device.refuses(world, "rollback", "version 2", "seen 3")


def test_a_replay_is_refused_when_the_cache_was_torn(world: World, device: Device) -> None:
    old = dict(world.held)
    next_release(world)
    looked = device.passes(world)
    device.cache = {**looked.cache, "timestamp.json": b"", "snapshot.json": b"{"}
    world.held = old
    device.refuses(world, "rollback")


def test_an_older_snapshot_under_a_newer_valid_timestamp_is_refused(world: World, device: Device) -> None:
    next_release(world)
    device.passes(world)
    timestamp = world.roles["timestamp"].signed
    timestamp.version += 1
    timestamp.snapshot_meta.version = 2
    timestamp.snapshot_meta.length = len(world.held["2.snapshot.json"])
    timestamp.snapshot_meta.hashes = {"sha256": codec.sha256_hex(world.held["2.snapshot.json"])}
    world.put("timestamp")
    device.refuses(world, "rollback", "snapshot")


@pytest.mark.parametrize("role", ["rollouts-eu-west", "releases", "keys", "targets"])
@pytest.mark.parametrize("cache", ["kept", "lost"])
def test_an_older_role_under_a_newer_valid_snapshot_is_refused(
    world: World, device: Device, role: str, cache: str
) -> None:
    old = Metadata.from_bytes(world.roles[role].to_bytes())
    world.online_round(role)
    device.passes(world)
    world.roles[role] = old
    world.online_round()
    if cache == "lost":
        device.cache = {}
    device.refuses(world, "rollback" if cache == "lost" else "version")


def test_a_role_that_was_dropped_from_the_snapshot_is_refused(world: World, device: Device) -> None:
    device.passes(world)
    del world.roles["rollouts-eu-west"]
    del world.roles["snapshot"].signed.meta["rollouts-eu-west.json"]
    world.online_round()
    device.refuses(world)


def test_files_of_two_states_mixed_are_refused(world: World, device: Device) -> None:
    device.passes(world)
    old = dict(world.held)
    next_release(world)
    world.held["3.rollouts-eu-west.json"] = old["2.rollouts-eu-west.json"]
    device.refuses(world, "not the bytes that were signed")


def test_fast_forward_by_a_thief_is_healed_by_new_keys(world: World, device: Device) -> None:
    for role in ("snapshot", "timestamp", "rollouts-eu-west"):
        world.roles[role].signed.version = 2**31
    world.online_round("rollouts-eu-west")
    device.passes(world)
    for role in ("snapshot", "timestamp"):
        world.rotate(role)
        world.roles[role].signed.version = 10
    delegations = world.roles["targets"].signed.delegations
    world.keys["rollouts-eu-west"] = CryptoSigner.generate_ed25519()
    public = world.keys["rollouts-eu-west"].public_key
    delegations.keys[public.keyid] = public
    delegations.roles["rollouts-eu-west"].keyids = [public.keyid]
    world.roles["rollouts-eu-west"].signed.version = 10
    world.online_round("targets", "rollouts-eu-west")
    assert device.passes(world).versions["rollouts-eu-west"] == 11


def test_a_role_whose_keys_did_not_change_never_goes_back_after_a_fast_forward(world: World, device: Device) -> None:
    world.roles["rollouts-eu-west"].signed.version = 2**31
    world.online_round("rollouts-eu-west")
    device.passes(world)
    world.rotate("snapshot")
    world.rotate("timestamp")
    world.roles["rollouts-eu-west"].signed.version = 10
    world.online_round("rollouts-eu-west")
    device.refuses(world, "rollback", "rollouts-eu-west")


# Time


def test_a_freeze_is_refused_once_the_timestamp_expires_and_what_was_believed_stays(
    world: World, device: Device
) -> None:
    looked = device.passes(world)
    device.now = world.now + 8 * DAY
    device.refuses(world, "expired", "timestamp")
    assert device.cache == looked.cache


@pytest.mark.parametrize("role", ["snapshot", "rollouts-eu-west", "releases", "keys", "targets", "timestamp"])
def test_any_role_that_has_expired_is_refused(world: World, device: Device, role: str) -> None:
    world.expire(role, world.now - timedelta(seconds=1))
    world.online_round(*(() if role in ("snapshot", "timestamp") else (role,)))
    device.refuses(world, "expired")


def test_an_expired_root_is_refused(world: World, device: Device) -> None:
    world.expire("root", world.now - timedelta(seconds=1))
    world.rotate("snapshot")
    world.online_round()
    device.refuses(world, "expired", "root")


def test_a_device_at_1970_takes_the_fresh_state(world: World, device: Device) -> None:
    device.now = EPOCH
    assert wished(device.passes(world)) == ["releases/fashion/1.json"]
    assert device.memory.floor == world.now


def test_a_device_at_1970_refuses_an_expired_replay_by_the_newest_signed_time(world: World, device: Device) -> None:
    frozen = dict(world.held)
    later = world.now + 200 * DAY
    for role, days in (("timestamp", 7), ("snapshot", 30), ("rollouts-eu-west", 30)):
        world.expire(role, later + days * DAY)
    world.online_round("rollouts-eu-west", issued=later)
    device.now = EPOCH
    device.passes(world)
    # The worst case: everything is lost but the floor.
    device.cache = {}
    device.memory = Memory(floor=device.memory.floor, floor_keyids=device.memory.floor_keyids)
    world.held = frozen
    device.refuses(world, "expired", "signed time")


def test_a_clock_far_ahead_is_refused_and_forgotten_once_it_is_right(world: World, device: Device) -> None:
    device.now = world.now + 4000 * DAY
    device.refuses(world, "expired", "the clock")
    device.now = world.now
    device.passes(world)
    assert device.memory.floor == world.now


def test_a_refused_look_never_moves_the_floor(world: World, device: Device) -> None:
    device.passes(world)
    for role in ("timestamp", "snapshot", "rollouts-eu-west"):
        world.expire(role, datetime(2099, 6, 1, tzinfo=timezone.utc))
    world.online_round("rollouts-eu-west", issued=datetime(2099, 1, 1, tzinfo=timezone.utc))
    device.refuses(world, "expired", "signed time")
    assert device.memory.floor == world.now


def test_time_poisoned_by_a_thief_is_healed_by_a_new_timestamp_key(world: World, device: Device) -> None:
    for role in ("timestamp", "snapshot", "rollouts-eu-west"):
        world.expire(role, world.now + 320 * DAY)
    world.online_round("rollouts-eu-west", issued=world.now + 300 * DAY)
    device.passes(world)
    for role, days in (("timestamp", 7), ("snapshot", 30), ("rollouts-eu-west", 30)):
        world.expire(role, world.now + days * DAY)
    world.online_round("rollouts-eu-west")
    device.refuses(world, "expired", "signed time")
    world.rotate("timestamp")
    world.online_round()
    device.passes(world)
    assert device.memory.floor == world.now


def test_a_timestamp_issued_after_its_own_expiry_is_refused(world: World, device: Device) -> None:
    world.online_round(issued=world.now + 8 * DAY)
    device.refuses(world, "issued", "after its expiry")


def test_an_issue_time_that_is_no_time_is_refused(world: World, device: Device) -> None:
    world.roles["timestamp"].signed.unrecognized_fields["x-edgefleet-issued"] = ["soon"]
    world.roles["timestamp"].signed.version += 1
    world.put("timestamp")
    device.refuses(world, "no time")


# Two hands


def test_a_release_listed_by_a_stolen_rollouts_key_is_refused(world: World, device: Device) -> None:
    ref = world.list_release("fashion", 9, role="rollouts-eu-west")
    world.roll_out("eu-west", ref)
    world.online_round("rollouts-eu-west")
    looked = device.passes(world)
    assert "not listed" in looked.refused_releases[ref.path]
    assert not looked.manifests


def test_a_rollout_of_a_withdrawn_release_is_refused(world: World, device: Device) -> None:
    device.passes(world)
    del world.roles["releases"].signed.targets["releases/fashion/1.json"]
    world.online_round("releases")
    assert "withdrawn" in device.passes(world).refused_releases["releases/fashion/1.json"]


def test_a_rollout_that_names_another_digest_is_refused(world: World, device: Device) -> None:
    other = ReleaseRef(path="releases/fashion/1.json", sha256="ab" * 32)
    world.roll_out("eu-west", other)
    world.online_round("rollouts-eu-west")
    looked = device.passes(world)
    assert "digest" in looked.refused_releases[other.path]
    assert not looked.manifests


PATH_TRICKS = [
    "../keys/commands.json",
    "releases/fashion/../fashion/1.json",
    "releases/fashion/1.json\n",
    "releases/fashion/01.json",
    "releases/fashion/1.JSON",
    "releases//1.json",
    "/releases/fashion/1.json",
    "releases/fashion/1.json/../2.json",
    "releases/fash*/1.json",
    "releases/-fashion/1.json",
    "rollouts/eu-west.json",
    "keys/commands.json",
    "",
]


@pytest.mark.parametrize("path", PATH_TRICKS)
def test_a_rollout_with_a_path_that_names_no_release_is_refused(world: World, device: Device, path: str) -> None:
    assignment = Assignment(model="fashion", release=ReleaseRef(path=path, sha256="ab" * 32))
    world.roll_out("eu-west", assignments=(assignment,))
    world.online_round("rollouts-eu-west")
    looked = device.passes(world)
    assert (
        "not the path of a release" in looked.refused_releases[path] or "cannot name" in looked.refused_releases[path]
    )
    assert not looked.manifests


def test_a_release_of_one_model_cannot_be_rolled_out_as_another(world: World, device: Device) -> None:
    ref = world.list_release("fashion", 1)
    world.roll_out("eu-west", assignments=(Assignment(model="brakes", release=ref),))
    world.online_round("rollouts-eu-west")
    assert "no release of brakes" in device.passes(world).refused_releases[ref.path]


def test_one_false_use_of_a_release_spoils_its_right_use_too(world: World, device: Device) -> None:
    ref = world.list_release("fashion", 1)
    for models in (("fashion", "brakes"), ("brakes", "fashion")):
        world.roll_out("eu-west", assignments=tuple(Assignment(model=model, release=ref) for model in models))
        world.online_round("rollouts-eu-west")
        looked = device.passes(world)
        assert ref.path in looked.refused_releases and not looked.manifests


def test_a_good_release_beside_a_refused_one_may_be_obeyed(world: World, device: Device) -> None:
    good = world.list_release("fashion", 1)
    bad = ReleaseRef(path="releases/brakes/1.json", sha256="ab" * 32)
    world.roll_out("eu-west", good, bad)
    world.online_round("rollouts-eu-west")
    looked = device.passes(world)
    assert looked.manifests.keys() == {good.sha256}
    assert looked.refused_releases.keys() == {bad.path}


def test_another_region_s_document_under_our_path_is_refused(world: World, device: Device) -> None:
    world.roll_out("eu-west", region="ap-south")
    world.online_round("rollouts-eu-west")
    device.refuses(world, "ap-south", "eu-west")


def test_our_document_listed_by_another_region_s_role_is_not_seen(world: World, device: Device) -> None:
    before = wished(device.passes(world))
    ref = world.list_release("fashion", 2)
    world.roll_out("eu-west", ref, role="rollouts-ap-south")
    world.online_round("releases", "rollouts-ap-south")
    assert wished(device.passes(world)) == before


def test_a_manifest_of_another_release_than_its_path_says_is_refused(world: World, device: Device) -> None:
    body = codec.encode(make_release("fashion", version=7)[0])
    ref = ReleaseRef(path="releases/fashion/2.json", sha256=world.target("releases", "releases/fashion/2.json", body))
    world.roll_out("eu-west", ref)
    world.online_round("releases", "rollouts-eu-west")
    assert "fashion/7" in device.passes(world).refused_releases[ref.path]


def test_a_manifest_that_is_no_release_or_for_a_later_agent_is_refused(world: World, device: Device) -> None:
    later = codec.encode(make_release("fashion", version=3, minimum_agent="99.0.0")[0])
    for number, body, word in ((2, b"{}", "Release"), (3, later, "99.0.0")):
        path = release_path(f"fashion/{number}")
        ref = ReleaseRef(path=path, sha256=world.target("releases", path, body))
        world.roll_out("eu-west", ref)
        world.online_round("releases", "rollouts-eu-west")
        assert word in device.passes(world).refused_releases[path]


def test_a_manifest_larger_than_the_limit_is_refused_before_it_is_fetched(world: World, device: Device) -> None:
    path = "releases/fashion/2.json"
    ref = ReleaseRef(path=path, sha256=world.target("releases", path, b" " * (MANIFEST_LIMIT + 1)))
    world.roll_out("eu-west", ref)
    world.online_round("releases", "rollouts-eu-west")
    del world.targets[ref.sha256]
    assert "limit" in device.passes(world).refused_releases[path]


def test_a_rollout_larger_than_the_limit_is_refused_before_it_is_fetched(world: World, device: Device) -> None:
    digest = world.target("rollouts-eu-west", "rollouts/eu-west.json", b" " * (ROLLOUT_LIMIT + 1))
    world.online_round("rollouts-eu-west")
    del world.targets[digest]
    device.refuses(world, "limit")


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b" ", lambda b: b.replace(b"1", b"2", 1), lambda b: b""]
)
def test_target_bytes_that_are_not_the_signed_ones_are_refused(world: World, device: Device, change: Any) -> None:
    digest = world.roles["rollouts-eu-west"].signed.targets["rollouts/eu-west.json"].hashes["sha256"]
    world.targets[digest] = change(world.targets[digest])
    device.refuses(world, "not the bytes that were signed")


# Wrong keys


def test_a_list_of_releases_signed_by_the_wrong_key_is_refused(world: World, device: Device) -> None:
    for thief in ("rollouts-eu-west", "timestamp", "snapshot", "keys", "commands"):
        world.list_release("fashion", 9)
        world.roles["releases"].signed.version += 1
        world.put("releases", world.keys[thief])
        world.online_round()
        device.refuses(world, "releases")


@pytest.mark.parametrize("role", ["targets", "keys", "rollouts-eu-west"])
def test_any_role_signed_by_the_wrong_key_is_refused(world: World, device: Device, role: str) -> None:
    world.roles[role].signed.version += 1
    world.put(role, world.keys["timestamp"])
    world.online_round()
    device.refuses(world)


def test_two_new_roots_are_walked(world: World, device: Device) -> None:
    world.rotate("root")
    world.online_round()
    world.rotate("root")
    world.online_round()
    assert device.passes(world).versions["root"] == 3


@pytest.mark.parametrize("which", ["only the old key", "only the new key", "a stranger"])
def test_a_new_root_that_old_and_new_key_did_not_both_sign_is_refused(world: World, device: Device, which: str) -> None:
    old = world.keys["root"]
    world.rotate("root")
    stranger = CryptoSigner.generate_ed25519()
    world.put("root", {"only the old key": old, "only the new key": world.keys["root"], "a stranger": stranger}[which])
    world.online_round()
    device.refuses(world)


def test_a_skipped_root_is_refused(world: World, device: Device) -> None:
    world.rotate("timestamp")
    root: Root = world.roles["root"].signed
    root.version = 3
    world.put("root")
    world.held["2.root.json"] = world.held["3.root.json"]
    world.online_round()
    device.refuses(world)


def test_a_head_that_lies_high_is_no_more_than_withholding(world: World, device: Device) -> None:
    world.head(40)
    answer = device.look(world.held, world.targets)
    assert isinstance(answer, Missing) and answer.metadata[0] == "2.root.json" and len(answer.metadata) == 39
    world.head(10**8)
    answer = device.look(world.held, world.targets)
    assert isinstance(answer, Missing) and len(answer.metadata) <= 64
    world.head(1)
    device.passes(world)


def test_a_head_that_lies_low_cannot_bring_a_replaced_key_back(world: World, device: Device) -> None:
    before = dict(world.held)
    world.rotate("timestamp")
    world.online_round()
    device.passes(world)
    world.held = before
    device.refuses(world)
    device.cache = {}
    device.refuses(world, "rollback", "root")


def test_a_replaced_root_key_cannot_come_back_even_when_the_cache_was_lost(world: World, device: Device) -> None:
    """New keys start a new count for every role but root: else its thief would only have to replay root 1."""
    before = dict(world.held)
    world.rotate("root")
    world.online_round()
    device.passes(world)
    device.cache, world.held = {}, before
    versions = {role: version for role, version in device.memory.versions.items() if role == "root"}
    device.memory = Memory(versions=versions, keyids=device.memory.keyids)
    device.refuses(world, "rollback", "root")


def test_a_delegation_that_leaves_room_for_another_hand_is_refused(world: World, device: Device) -> None:
    world.roles["targets"].signed.delegations.roles["releases"].terminating = False
    world.online_round("targets")
    device.refuses(world, "last word")


@pytest.mark.parametrize(
    "head", [b"", b"{}", b'{"root": "2"}', b'{"root": true}', b'{"root": -1}', b"[" * 900, b"\xff"]
)
def test_a_head_that_is_no_number_is_refused(world: World, device: Device, head: bytes) -> None:
    world.held["head"] = head
    device.refuses(world, "head")


def test_another_fleet_s_repository_is_refused(world: World, device: Device) -> None:
    device.passes(world)
    device.refuses(World(), "not signed by enough of the right keys")


def test_a_role_that_lets_others_sign_for_it_is_refused(world: World, device: Device) -> None:
    key = world.keys["commands"].public_key
    world.roles["releases"].signed.delegations = Delegations(
        {key.keyid: key}, {"helper": DelegatedRole("helper", [key.keyid], 1, True, paths=["releases/*/*"])}
    )
    world.online_round("releases")
    device.refuses(world, "lets others sign")


def test_targets_with_targets_of_its_own_is_refused(world: World, device: Device) -> None:
    world.target("targets", "rollouts/eu-west.json", b"{}")
    world.online_round("targets")
    device.refuses(world, "targets of its own")


# Hostile bytes

FUZZED = [
    "timestamp.json",
    "2.snapshot.json",
    "1.targets.json",
    "1.keys.json",
    "2.releases.json",
    "2.rollouts-eu-west.json",
]


_WORLD = World(now=this_moment())
_WORLD.rotate("snapshot")
_WORLD.release_everywhere()


@settings(max_examples=250, deadline=None, derandomize=True)
@given(name=st.sampled_from([*FUZZED, "2.root.json", "head"]), seed=st.integers(0, 2**32))
def test_hostile_bytes_are_refused_or_missing_and_never_crash_the_look(name: str, seed: int) -> None:
    body = hostile(_WORLD.held[name], seed)
    held = {**_WORLD.held, name: body}
    with tempfile.TemporaryDirectory() as scratch:
        request = LookRequest(
            root=_WORLD.anchor,
            cache={},
            memory=Memory(),
            held=held,
            targets=_WORLD.targets,
            region="eu-west",
            now=_WORLD.now,
        )
        answer = InProcessLooker(Path(scratch)).look(request)
        assert isinstance(answer, (Looked, Missing, Refused))
        if isinstance(answer, Looked) and name != "head":  # a change outside what is signed may pass
            assert Metadata.from_bytes(body).signed_bytes == Metadata.from_bytes(_WORLD.held[name]).signed_bytes


@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json", "2.snapshot.json", "1.targets.json"])
def test_metadata_beyond_its_limit_is_refused_before_it_is_parsed(world: World, device: Device, name: str) -> None:
    world.held[name] = b" " * 2_000_000
    device.refuses(world, "longer than it may be")
