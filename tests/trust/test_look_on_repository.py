"""The device's look at a repository as the trust part makes it: the two halves agree."""

from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Targets

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.looker import ChildLooker
from edgefleet_agent.seams import Looked, LookRequest, Memory, Missing, Refused
from edgefleet_protocol import codec
from edgefleet_protocol.rollout import Rollout
from edgefleet_trust.keyfile import read_key
from edgefleet_trust.passphrase import Passphrase
from edgefleet_trust.roles import to_bytes
from tests.fakes.repository import PASSPHRASE, FakeRepository, make_package, publish_release


def look(
    repo: FakeRepository, scratch: Path, before: Looked | None = None, **fields: object
) -> Looked | Missing | Refused:
    """Look at all that the repository publishes, with what the last look left."""
    request = LookRequest(
        **{
            "root": repo.root,
            "cache": before.cache if before else {},
            "memory": before.memory if before else Memory(),
            "held": repo.repository.metadata(),
            "targets": repo.repository.targets(),
            "region": "eu-west",
            "now": repo.now,
            **fields,
        }  # type: ignore[arg-type]
    )
    return InProcessLooker(scratch).look(request)


def believed(answer: Looked | Missing | Refused) -> Looked:
    assert isinstance(answer, Looked), answer
    return answer


def test_what_was_published_and_rolled_out_is_believed(repo: FakeRepository, tmp_path: Path) -> None:
    rollout = repo.roll_out("eu-west", "fashion/1")
    looked = believed(look(repo, tmp_path))
    assert looked.rollout is not None and codec.decode(looked.rollout, Rollout) == rollout
    assert looked.manifests == {repo.ref("fashion/1").sha256: repo.repository.manifest(repo.ref("fashion/1"))[1]}
    assert looked.command_keys[0].keyid == repo.online.public("commands").keyid
    assert believed(look(repo, tmp_path, region="ap-south")).rollout is None


def test_a_new_release_and_rollout_follow_the_old_ones(repo: FakeRepository, tmp_path: Path) -> None:
    repo.roll_out("eu-west", "fashion/1")
    first = believed(look(repo, tmp_path))
    publish_release(repo, make_package(tmp_path, seed=4))
    repo.roll_out("eu-west", "fashion/2", "fashion/1")
    second = believed(look(repo, tmp_path, first))
    assert len(second.manifests) == 2
    assert second.versions["snapshot"] > first.versions["snapshot"]


def test_a_daily_refresh_is_believed_by_a_device_that_knew_the_day_before(repo: FakeRepository, tmp_path: Path) -> None:
    repo.roll_out("eu-west", "fashion/1")
    looked = believed(look(repo, tmp_path))
    for day in range(2, 40, 4):
        now = repo.now + timedelta(days=day)
        assert repo.repository.refresh(repo.online, now)
        looked = believed(look(repo, tmp_path, looked, now=now))
        assert looked.memory.floor is not None and abs(looked.memory.floor - now) < timedelta(seconds=1)


def test_a_server_that_fell_silent_is_refused_after_a_week(repo: FakeRepository, tmp_path: Path) -> None:
    looked = believed(look(repo, tmp_path))
    assert isinstance(look(repo, tmp_path, looked, now=repo.now + timedelta(days=8)), Refused)


def test_a_replay_of_yesterday_s_repository_is_refused(repo: FakeRepository, tmp_path: Path) -> None:
    yesterday = repo.repository.metadata()
    repo.roll_out("eu-west", "fashion/1")
    looked = believed(look(repo, tmp_path))
    for cache in (looked.cache, {}):
        answer = look(repo, tmp_path, looked, cache=cache, held=yesterday)
        assert isinstance(answer, Refused) and "rollback" in answer.reason


@pytest.mark.parametrize("thief", ["online/rollouts-eu-west", "online/timestamp", "offline/keys"])
def test_a_list_of_releases_signed_with_a_stolen_key_is_refused(
    repo: FakeRepository, tmp_path: Path, thief: str
) -> None:
    """The thief has the server and its broker: snapshot and timestamp are signed rightly over the false list."""
    from edgefleet_trust.commit import online_pair

    repo.roll_out("eu-west", "fashion/1")
    current = repo.repository.current()
    metadata = Metadata[Targets].from_bytes(current.files[current.role_file("releases")])
    metadata.signed.version += 1
    metadata.signed.targets["releases/fashion/1.json"].hashes["sha256"] = "ab" * 32
    metadata.sign(read_key(repo.keys_folder / f"{thief}.json", Passphrase(PASSPHRASE)))
    false = to_bytes(metadata)
    roles = {role: current.files[current.role_file(role)] for role in current.roles} | {"releases": false}
    pair = online_pair(roles, (current.snapshot.version + 1, current.timestamp.version + 1), repo.online, repo.now)
    held = {**repo.repository.metadata(), "3.releases.json": false, **pair}
    answer = look(repo, tmp_path, held=held)
    assert isinstance(answer, Refused) and "not signed by enough of the right keys" in answer.reason


def test_a_child_believes_the_same(repo: FakeRepository, tmp_path: Path) -> None:
    repo.roll_out("eu-west", "fashion/1")
    request = LookRequest(
        repo.root, {}, Memory(), repo.repository.metadata(), repo.repository.targets(), "eu-west", repo.now
    )
    assert ChildLooker(tmp_path).look(request) == InProcessLooker(tmp_path).look(request)
