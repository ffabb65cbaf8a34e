"""A publish whose power is cut at any step leaves a repository that devices accept, and running it again completes it."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from edgefleet_agent.look import InProcessLooker
from edgefleet_agent.seams import Looked, LookRequest, Memory
from edgefleet_protocol.rollout import Rollout
from edgefleet_trust.carry import carried_already, publish_motion
from edgefleet_trust.device_view import device_view
from edgefleet_trust.files import Disk
from edgefleet_trust.motion import read_motion, write_motion
from edgefleet_trust.motion_signing import review_motion, sign_motion
from edgefleet_trust.online import OnlineKeys
from edgefleet_trust.passphrase import Passphrase
from edgefleet_trust.proposal import read_proposal
from edgefleet_trust.publish import publish
from edgefleet_trust.repository import Repository
from edgefleet_trust.rotate import new_online_key, rotate_online, withdraw
from tests.fakes.cutting_disk import CuttingDisk, PowerCut
from tests.fakes.repository import PASSPHRASE, FakeRepository

from .conftest import Desk


def accepted(repository: Repository) -> set[str]:
    """Return the releases that a new device finds; it must accept the repository."""
    current = repository.current()
    device_view(current.files, {ref.path: ref.sha256 for ref in current.releases().values()})
    for ref in current.releases().values():
        release, _ = repository.manifest(ref)
        assert all(repository.chunk(chunk.sha256) for entry in release.files for chunk in entry.chunks)
    repository.metadata(), repository.targets()
    return set(current.releases())


@pytest.mark.parametrize("torn", [True, False])
def test_a_publish_cut_at_each_step_is_old_or_new_and_completes_when_run_again(
    desk: Desk, tmp_path: Path, torn: bool
) -> None:
    desk.propose(ballast=70_000)
    desk.sign()
    proposal, online = read_proposal(desk.file), desk.repo.online
    whole = tmp_path / "whole"
    shutil.copytree(desk.repo.folder, whole)
    after = 0
    while True:
        folder = tmp_path / f"cut-{after}"
        shutil.copytree(whole, folder)
        disk = CuttingDisk(after, torn=torn)
        try:
            publish(proposal, Repository(folder), online, desk.repo.now, disk)
        except PowerCut:
            assert accepted(Repository(folder)) in ({"fashion/1"}, {"fashion/1", "fashion/2"})
            publish(proposal, Repository(folder), online, desk.repo.now)
            assert accepted(Repository(folder)) == {"fashion/1", "fashion/2"}
            shutil.rmtree(folder)
        else:
            break
        after += 1
    assert after > 15


def test_a_rollout_cut_at_each_step_is_old_or_new_and_can_be_signed_again(repo: FakeRepository, tmp_path: Path) -> None:
    repo.roll_out("eu-west", "fashion/1")
    whole, online = tmp_path / "whole", repo.online
    shutil.copytree(repo.folder, whole)
    rollout = Rollout(region="eu-west", serial=2, issued=repo.now)
    after = 0
    while True:
        folder = tmp_path / f"cut-{after}"
        shutil.copytree(whole, folder)
        try:
            Repository(folder, CuttingDisk(after)).sign_rollout(rollout, online, repo.now)
        except PowerCut:
            repository = Repository(folder)
            accepted(repository)
            current = repository.rollout("eu-west")
            assert current is not None and current.serial in (1, 2)
            if current.serial == 1:
                repository.sign_rollout(rollout, online, repo.now)
            assert repository.rollout("eu-west") == rollout
        else:
            break
        after += 1
    assert after > 5


def test_a_device_that_looks_while_power_is_cut_never_goes_back(desk: Desk, tmp_path: Path) -> None:
    """One device follows the folder through every cut, with its memory: nothing that it saw may be taken back."""
    desk.propose()
    desk.sign()
    proposal, online = read_proposal(desk.file), desk.repo.online
    root, cache, memory = desk.repo.root, {}, Memory()  # type: ignore[var-annotated]
    for after in range(60):
        try:
            publish(proposal, desk.repo.repository, online, desk.repo.now, CuttingDisk(after))
            done = True
        except PowerCut:
            done = False
        repository = desk.repo.repository
        request = LookRequest(
            root, cache, memory, repository.metadata(), repository.targets(), "eu-west", desk.repo.now
        )
        looked = InProcessLooker(tmp_path).look(request)
        assert isinstance(looked, Looked), looked
        cache, memory = dict(looked.cache), looked.memory
        if done:
            return
    raise AssertionError("never finished")


@pytest.mark.parametrize("what", ["rotation", "withdrawal"])
def test_a_motion_cut_at_each_step_is_old_or_new_and_completes_when_run_again(
    repo: FakeRepository, tmp_path: Path, what: str
) -> None:
    repo.roll_out("eu-west", "fashion/1")
    secret = Passphrase(PASSPHRASE)
    if what == "rotation":
        fresh = {role: new_online_key(repo.keys_folder, role, secret) for role in ("snapshot", "timestamp", "commands")}
        made = rotate_online(repo.repository, fresh, repo.now, compromised=True)
    else:
        made = withdraw(repo.repository, ["fashion/1"], repo.now)
    file = tmp_path / "motion"
    write_motion(file, made, Disk())
    sign_motion(review_motion(file, repo.keys_folder, repo.now), file, repo.keys_folder, secret)
    motion = read_motion(file)
    device = InProcessLooker(tmp_path)
    for after in range(200):
        folder, keys = tmp_path / f"cut-{after}", tmp_path / f"keys-{after}"
        shutil.copytree(repo.folder, folder)
        shutil.copytree(repo.keys_folder / "online", keys)
        repository, online = Repository(folder), OnlineKeys.load_with(keys, secret)
        try:
            publish_motion(motion, repository, online, repo.now, CuttingDisk(after))
        except PowerCut:
            accepted(repository)
            request = LookRequest(
                repo.root, {}, Memory(), repository.metadata(), repository.targets(), "eu-west", repo.now + timedelta(seconds=1)
            )  # fmt: skip
            assert isinstance(device.look(request), Looked)
            publish_motion(motion, repository, OnlineKeys.load_with(keys, secret), repo.now)
            assert carried_already(motion, repository.current()) and not list((keys / "next").glob("*.json"))
            if after % 5 == 0:
                assert repository.refresh(OnlineKeys.load_with(keys, secret), repo.now + timedelta(days=2))
                accepted(repository)
        else:
            assert after > 5
            return
        shutil.rmtree(folder), shutil.rmtree(keys)
    raise AssertionError("never finished")
