"""Keys change hands and devices follow: from every state that they may have seen, and after a thief."""

from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Targets

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.seams import Looked, LookRequest, Memory, Refused
from edgefleet_trust.commit import last_issued, online_pair
from edgefleet_trust.roles import to_bytes
from edgefleet_trust.rotate import withdraw
from tests.fakes.repository import FakeRepository, make_package, publish_release


class Device:
    """One that looks at the repository and remembers."""

    def __init__(self, repo: FakeRepository, scratch: Path) -> None:
        self.repo, self.scratch = repo, scratch
        self.root, self.cache, self.memory = repo.root, {}, Memory()  # type: ignore[var-annotated]

    def look(self, held: dict[str, bytes] | None = None) -> Looked | Refused:
        repository = self.repo.repository
        request = LookRequest(
            self.root, self.cache, self.memory, held or repository.metadata(), repository.targets(), "eu-west",
            self.repo.now + timedelta(seconds=1),
        )  # fmt: skip
        answer = InProcessLooker(self.scratch).look(request)
        assert isinstance(answer, Looked | Refused), answer
        if isinstance(answer, Looked):
            self.cache, self.memory = dict(answer.cache), answer.memory
        return answer


@pytest.fixture
def device(repo: FakeRepository, tmp_path: Path) -> Device:
    repo.roll_out("eu-west", "fashion/1")
    made = Device(repo, tmp_path)
    assert isinstance(made.look(), Looked)
    return made


@pytest.mark.parametrize("role", ["snapshot", "timestamp", "rollouts-eu-west", "commands"])
@pytest.mark.parametrize("compromised", [False, True])
def test_a_device_follows_the_server_s_new_keys(
    device: Device, repo: FakeRepository, tmp_path: Path, role: str, compromised: bool
) -> None:
    before = repo.online.public(role)
    repo.rotate(role, compromised=compromised)
    assert repo.online.public(role) != before
    looked = device.look()
    assert isinstance(looked, Looked), looked
    assert looked.rollout is not None
    assert isinstance(Device(repo, tmp_path).look(), Looked)
    keyids = [key.keyid for key in looked.command_keys]
    assert keyids[0] == repo.online.public("commands").keyid
    assert len(keyids) == (2 if role == "commands" and not compromised else 1)
    publish_release(repo, make_package(tmp_path, seed=8))
    repo.roll_out("eu-west", "fashion/2")
    assert isinstance(device.look(), Looked)


def test_a_thief_who_counted_far_ahead_and_dated_far_ahead_is_forgotten_with_the_keys(
    device: Device, repo: FakeRepository
) -> None:
    current = repo.repository.current()
    metadata = Metadata[Targets].from_bytes(current.files[current.role_file("rollouts-eu-west")])
    metadata.signed.version = 2**31
    metadata.sign(repo.online.signer("rollouts-eu-west"))
    roles = {role: current.files[current.role_file(role)] for role in current.roles}
    roles["rollouts-eu-west"] = to_bytes(metadata)
    late = repo.now + timedelta(days=20)
    pair = online_pair(roles, (2**31, 2**31), repo.online, late, current.root)
    stolen = {**repo.repository.metadata(), **pair, f"{2**31}.rollouts-eu-west.json": roles["rollouts-eu-west"]}
    assert isinstance(device.look(stolen), Looked)
    assert isinstance(device.look(), Refused)
    repo.rotate("rollouts-eu-west", compromised=True)
    looked = device.look()
    assert isinstance(looked, Looked), looked
    assert looked.versions["rollouts-eu-west"] < 100
    repo.roll_out("eu-west")
    assert isinstance(device.look(), Looked)


def test_a_thief_who_had_the_repository_s_folder_too_leaves_no_count_behind(
    device: Device, repo: FakeRepository
) -> None:
    current = repo.repository.current()
    roles = {role: current.files[current.role_file(role)] for role in current.roles}
    pair = online_pair(roles, (2**31, 2**31), repo.online, repo.now + timedelta(days=20), current.root)
    for name, data in pair.items():
        (repo.folder / "metadata" / name).write_bytes(data)
    assert isinstance(device.look(), Looked)
    repo.rotate("timestamp", compromised=True)
    assert repo.repository.current().timestamp.version < 100
    assert isinstance(device.look(), Looked)
    issued = last_issued(repo.repository.current())
    assert issued is not None and issued - repo.now < timedelta(minutes=1)
    repo.roll_out("eu-west", "fashion/1")
    assert isinstance(device.look(), Looked)


def test_three_generations_of_root_are_walked_by_a_device_that_slept(device: Device, repo: FakeRepository) -> None:
    for _ in range(3):
        repo.renew_root()
    looked = device.look()
    assert isinstance(looked, Looked) and looked.versions["root"] == 4


def test_a_withdrawn_release_is_refused_by_devices_and_its_number_is_never_given_again(
    device: Device, repo: FakeRepository, tmp_path: Path
) -> None:
    repo.carry(withdraw(repo.repository, ["fashion/1"], repo.now))
    assert repo.repository.releases() == {}
    looked = device.look()
    assert isinstance(looked, Looked)
    assert not looked.manifests and "withdrawn" in looked.refused_releases["releases/fashion/1.json"]
    assert publish_release(repo, make_package(tmp_path, seed=9)) == "fashion/2"


def test_a_running_server_opens_a_new_key_by_itself(repo: FakeRepository) -> None:
    server = repo.online
    del repo.online
    repo.rotate("snapshot")
    repo.rotate("commands")
    assert repo.repository.refresh(server, repo.now + timedelta(days=2))
    assert server.public("commands") == repo.online.public("commands")
