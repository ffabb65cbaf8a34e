"""What the server reads from the repository, and the changes that it makes with the online keys."""

import json
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from securesystemslib.signer import SSlibKey

from edgefleet_protocol import codec, dsse
from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.errors import BadName
from edgefleet_protocol.rollout import Assignment, ReleaseRef, Rollout
from edgefleet_protocol.topics import METADATA_NAME
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE, KeyList
from edgefleet_trust.commit import last_issued
from edgefleet_trust.errors import BreaksRule, NotThere, TrustError, WrongClock
from edgefleet_trust.online import OnlineKeys
from edgefleet_trust.repository import Repository
from edgefleet_trust.status import read_status
from tests.fakes.repository import PASSPHRASE, FakeRepository, make_package, make_repository, publish_release

DAY = timedelta(days=1)


def test_a_new_repository_lists_nothing_and_wishes_nothing(tmp_path: Path) -> None:
    repository = make_repository(tmp_path, fleet="plant", regions=("eu-west", "ap-south")).repository
    assert (repository.fleet, repository.regions()) == ("plant", ("eu-west", "ap-south"))
    assert repository.releases() == {}
    assert repository.rollout("eu-west") is None
    assert repository.chunk("ab" * 32) is None and repository.chunk("../fleet.json") is None


def test_metadata_has_every_published_name_with_timestamp_and_head_last(repo: FakeRepository) -> None:
    repo.roll_out("eu-west", "fashion/1")
    metadata = repo.repository.metadata()
    assert list(metadata)[-2:] == ["timestamp.json", "head"]
    assert list(metadata)[-3].endswith("snapshot.json")
    assert all(METADATA_NAME.match(name) for name in metadata)
    assert json.loads(metadata["head"]) == {"root": 1}
    assert {
        "1.root.json",
        "2.snapshot.json",
        "3.snapshot.json",
        "1.rollouts-eu-west.json",
        "2.rollouts-eu-west.json",
    } < set(metadata)
    assert "1.snapshot.json" not in metadata


def test_targets_are_what_current_rollouts_need_and_no_more(repo: FakeRepository, tmp_path: Path) -> None:
    publish_release(repo, make_package(tmp_path, seed=5))
    key_list = set(repo.repository.targets())
    assert len(key_list) == 1
    repo.roll_out("eu-west", "fashion/1")
    repo.roll_out("ap-south")
    targets = repo.repository.targets()
    assert all(sha256_hex(data) == name for name, data in targets.items())
    refs = repo.repository.releases()
    assert refs["fashion/1"].sha256 in targets and refs["fashion/2"].sha256 not in targets
    assert len(targets) == 4
    repo.roll_out("eu-west", "fashion/2")
    targets = repo.repository.targets()
    assert refs["fashion/2"].sha256 in targets and refs["fashion/1"].sha256 not in targets


def test_the_stamp_changes_with_each_change_and_only_then(repo: FakeRepository, tmp_path: Path) -> None:
    stamps = [repo.repository.version_stamp()]
    assert repo.repository.version_stamp() == stamps[0]
    repo.roll_out("eu-west", "fashion/1")
    stamps.append(repo.repository.version_stamp())
    publish_release(repo, make_package(tmp_path, seed=5))
    stamps.append(repo.repository.version_stamp())
    repo.repository.refresh(repo.online, repo.now + 2 * DAY)
    stamps.append(repo.repository.version_stamp())
    assert len(set(stamps)) == 4


def test_a_rollout_comes_back_as_it_was_signed(repo: FakeRepository) -> None:
    first = repo.roll_out("eu-west", "fashion/1")
    assert repo.repository.rollout("eu-west") == first
    assert repo.repository.rollout("ap-south") is None


def test_a_manifest_comes_back_with_its_very_bytes(repo: FakeRepository) -> None:
    ref = repo.ref("fashion/1")
    release, data = repo.repository.manifest(ref)
    assert release.name == "fashion/1" and sha256_hex(data) == ref.sha256
    with pytest.raises(NotThere):
        repo.repository.manifest(ReleaseRef(path=ref.path, sha256="ab" * 32))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"region": "atlantis"}, "no region atlantis"),
        ({"serial": 1}, "count up"),
        ({"path": "releases/fashion/9.json"}, "not listed"),
        ({"sha256": "ab" * 32}, "digest"),
        ({"model": "brakes"}, "brakes"),
    ],
)
def test_a_rollout_that_devices_would_not_obey_is_not_signed(
    repo: FakeRepository, change: dict[str, object], word: str
) -> None:
    repo.roll_out("eu-west", "fashion/1")
    ref = repo.ref("fashion/1")
    row = {"region": "eu-west", "serial": 2, "path": ref.path, "sha256": ref.sha256, "model": "fashion", **change}
    assignment = Assignment(
        model=str(row["model"]), release=ReleaseRef(path=str(row["path"]), sha256=str(row["sha256"]))
    )
    rollout = Rollout(
        region=str(row["region"]), serial=int(str(row["serial"])), issued=repo.now, assignments=(assignment,)
    )
    before = repo.repository.version_stamp()
    with pytest.raises(BreaksRule, match=word):
        repo.repository.sign_rollout(rollout, repo.online, repo.now)
    assert repo.repository.version_stamp() == before


def test_a_rollout_with_a_path_trick_is_not_signed(repo: FakeRepository) -> None:
    trick = Assignment(model="fashion", release=ReleaseRef(path="releases/fashion/../1.json", sha256="ab" * 32))
    with pytest.raises(BadName):
        repo.repository.sign_rollout(
            Rollout(region="eu-west", serial=1, issued=repo.now, assignments=(trick,)), repo.online, repo.now
        )


def test_refresh_signs_anew_after_a_day_and_not_before(repo: FakeRepository) -> None:
    repository = repo.repository
    assert not repository.refresh(repo.online, repo.now + timedelta(hours=23))
    assert repository.refresh(repo.online, repo.now + 1.1 * DAY)
    current = repository.current()
    assert current.timestamp.expires > repo.now + 8 * DAY
    assert current.snapshot.expires > repo.now + 31 * DAY
    assert not repository.refresh(repo.online, repo.now + 1.2 * DAY)


def test_refresh_keeps_a_region_alive_that_has_had_no_rollout_for_long(repo: FakeRepository) -> None:
    rollout = repo.roll_out("eu-west", "fashion/1")
    for day in (10, 16, 25, 40):
        repo.repository.refresh(repo.online, repo.now + day * DAY)
    roles = repo.repository.current().roles
    assert roles["rollouts-eu-west"].expires > repo.now + 60 * DAY
    assert roles["rollouts-ap-south"].expires > repo.now + 60 * DAY
    assert repo.repository.rollout("eu-west") == rollout


def test_old_versions_do_not_pile_up_and_roots_stay(repo: FakeRepository) -> None:
    for day in range(2, 14):
        repo.repository.refresh(repo.online, repo.now + day * DAY)
    names = [path.name for path in (repo.folder / "metadata").iterdir()]
    assert sum(name.endswith("snapshot.json") for name in names) <= 4
    assert "1.root.json" in names
    assert "14.snapshot.json" in repo.repository.metadata()


def test_leftovers_of_a_publish_that_was_interrupted_are_not_published(repo: FakeRepository) -> None:
    before = repo.repository.metadata()
    for name in ("99.releases.json", "99.snapshot.json", ".3.snapshot.json.new"):
        (repo.folder / "metadata" / name).write_bytes(b"{}")
    assert repo.repository.metadata() == before


def test_a_damaged_repository_says_what_is_damaged(repo: FakeRepository) -> None:
    for path in (repo.folder / "metadata").glob("*.snapshot.json"):
        path.write_bytes(b"{")
    with pytest.raises(TrustError, match=r"damaged.*backup"):
        repo.repository.metadata()


def test_a_damaged_target_is_not_given_out(repo: FakeRepository) -> None:
    ref = repo.ref("fashion/1")
    (repo.folder / "targets" / ref.sha256).write_bytes(b"x")
    with pytest.raises(TrustError, match="was changed"):
        repo.repository.manifest(ref)


def test_an_envelope_is_signed_with_the_key_that_devices_are_told(repo: FakeRepository) -> None:
    envelope = repo.online.sign_envelope(DEVICE_ASSIGNMENT_TYPE, b"payload")
    key_list = codec.decode(next(iter(repo.repository.targets().values())), KeyList)
    (row,) = key_list.keys

    def verify(signature: bytes, message: bytes) -> bool:
        from securesystemslib.signer import Signature

        key = SSlibKey(row.keyid, row.keytype, row.scheme, {"public": row.public})
        key.verify_signature(Signature(row.keyid, signature.hex()), message)
        return True

    assert dsse.open_envelope(envelope, DEVICE_ASSIGNMENT_TYPE, {row.keyid: verify}) == b"payload"


def test_a_server_without_a_region_s_key_cannot_sign_for_it(repo: FakeRepository) -> None:
    (repo.keys_folder / "online" / "rollouts-ap-south.json").unlink()
    keys = OnlineKeys.load(repo.keys_folder, PASSPHRASE)
    with pytest.raises(NotThere, match="rollouts-ap-south"):
        repo.repository.sign_rollout(Rollout(region="ap-south", serial=1, issued=repo.now), keys, repo.now)
    repo.repository.sign_rollout(Rollout(region="eu-west", serial=1, issued=repo.now), keys, repo.now)


def test_a_server_can_read_while_another_process_publishes(repo: FakeRepository) -> None:
    """Readers take no lock: each answer is one whole state, never a mix of two."""
    done = threading.Event()
    seen: list[int] = []
    failures: list[BaseException] = []

    def read() -> None:
        repository = Repository(repo.folder)
        while not done.is_set():
            try:
                metadata = repository.metadata()
                repository.targets()
                rollout = repository.rollout("eu-west")
                assert "timestamp.json" in metadata
                seen.append(rollout.serial if rollout else 0)
            except BaseException as error:
                failures.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(8):
        repo.roll_out("eu-west", "fashion/1")
    done.set()
    reader.join()
    assert not failures
    assert seen == sorted(seen)


def test_a_clock_that_went_back_signs_nothing_and_status_says_so(repo: FakeRepository) -> None:
    later = repo.now + 3 * DAY
    repo.repository.refresh(repo.online, later)
    stamp = repo.repository.version_stamp()
    words = "this machine's clock says .* and the repository was signed at .*: set the clock"
    with pytest.raises(WrongClock, match=words):
        repo.repository.refresh(repo.online, repo.now)
    with pytest.raises(WrongClock, match=words):
        repo.roll_out("eu-west", "fashion/1")
    assert repo.repository.version_stamp() == stamp
    assert "nothing is signed until the clock has passed it" in read_status(repo.repository, repo.now).warnings[0]
    assert not any("clock" in text for text in read_status(repo.repository, later).warnings)


def test_a_clock_that_is_set_back_by_a_little_does_not_take_the_signed_time_back(repo: FakeRepository) -> None:
    repo.roll_out("eu-west", "fashion/1")
    before = last_issued(repo.repository.current())
    early = repo.now - timedelta(seconds=20)
    rollout = repo.repository.rollout("eu-west")
    assert rollout is not None
    repo.repository.sign_rollout(replace(rollout, serial=rollout.serial + 1), repo.online, early)
    assert last_issued(repo.repository.current()) == before
