"""Who holds the broker, or the server's keys, changes nothing on a device: it says why, and the server hears of it."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from edgefleet_protocol.rollout import Assignment, ReleaseRef, Rollout
from edgefleet_trust.current import Current
from edgefleet_trust.repository import Repository
from tests.fakes.fleet import WEST, Fleet, Member
from tests.fakes.intruder import Intruder
from tests.fakes.package import make_package
from tests.fakes.repository import FakeRepository, make_repository, publish_release

from .conftest import MakeFleet


def test_what_is_replayed_or_signed_by_a_stranger_is_refused_with_the_reason(
    make_fleet: MakeFleet, tmp_path: Path
) -> None:
    fleet = make_fleet([Member("one")])
    first, second = fleet.release(), fleet.release()
    fleet.roll_out(first, [WEST])
    old = {name: fleet.trust.repository.metadata()[name] for name in ("timestamp.json", "head")}
    fleet.roll_out(second, [WEST])
    stranger = make_strangers(fleet, tmp_path)
    with fleet.load("one") as load, fleet.intruder() as intruder:
        fleet.parts.stop("server")  # it would put its topics right within a moment
        put_trust(fleet, intruder, old)
        refuses(fleet, "rollback", second)
        for digest, payload in stranger.repository.targets().items():
            intruder.put(fleet.topics.target(digest), payload)
        put_trust(fleet, intruder, stranger.repository.metadata())
        refuses(fleet, "sign", second)
        fleet.start_server()
        so_far = load.answered
        fleet.until("it goes on serving", lambda: load.answered > so_far + 20)
        assert set(load.by_release) == {second}
        third = fleet.release()
        fleet.roll_out(third, [WEST])
        fleet.until("the new release answers", lambda: load.by_release[third] > 5)
    assert load.failures == []
    assert fleet.status("one")["trust_problem"] is None


def test_a_stolen_server_cannot_make_a_device_run_what_was_never_listed(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet([Member("one")])
    listed = fleet.release()
    fleet.roll_out(listed, [WEST])
    stranger = make_strangers(fleet, tmp_path)
    with fleet.load("one") as load, fleet.intruder() as intruder:
        fleet.parts.stop("server")  # it would put its topics right within a moment
        for digest, payload in stranger.repository.targets().items():
            intruder.put(fleet.topics.target(digest), payload)
        forged = forge(fleet, tmp_path / "stolen", stranger.ref(listed))
        for target in (tmp_path / "stolen" / "targets").iterdir():
            intruder.put(fleet.topics.target(target.name), target.read_bytes())
        put_trust(fleet, intruder, forged)

        def says() -> str:
            return str(next(row for row in fleet.status("one")["models"] if row["model"] == "fashion")["why"])

        fleet.until("the device says it", lambda: "listed" in says())
        said = next(row for row in fleet.status("one")["models"] if row["model"] == "fashion")
        assert "listed" in said["why"], said["why"]
        assert said["running"]["release"] == listed
        assert said["running"]["release_sha256"] == fleet.trust.ref(listed).sha256
        so_far = load.answered
        fleet.until("it goes on serving", lambda: load.answered > so_far + 20)
    assert load.failures == [] and set(load.by_release) == {listed}


def refuses(fleet: Fleet, why: str, release: str) -> None:
    """Wait until the device says why it refuses; what ran goes on."""
    fleet.until(f"it says why: {why}", lambda: why in (fleet.status("one")["trust_problem"] or ""))
    running = next(row for row in fleet.status("one")["models"] if row["model"] == "fashion")["running"]
    assert running["release"] == release


def put_trust(fleet: Fleet, intruder: Intruder, documents: Mapping[str, bytes]) -> None:
    """Overwrite the region's trust, in the order of publishing: what is looked at first comes last."""
    for name, payload in documents.items():
        intruder.put(fleet.topics.trust(name), payload)


def make_strangers(fleet: Fleet, folder: Path) -> FakeRepository:
    """Return another's repository for a fleet of the same name, with keys of their own and higher numbers."""
    stranger = make_repository(folder, fleet.trust.repository.fleet, fleet.trust.repository.regions())
    name = publish_release(stranger, make_package(folder, seed=99))
    for _ in range(12):
        stranger.roll_out(WEST, name)
    return stranger


class Stolen(Repository):
    """The server's own repository and keys in a thief's hands: it signs whatever it likes."""

    def _check(self, current: Current, rollout: Rollout) -> None:
        pass


def forge(fleet: Fleet, folder: Path, ref: ReleaseRef) -> dict[str, bytes]:
    """Return metadata by which the server's keys name a release that was never listed."""
    shutil.copytree(fleet.trust.folder, folder)
    stolen = Stolen(folder)
    before = stolen.rollout(WEST)
    assert before is not None
    rollout = Rollout(
        region=WEST,
        serial=before.serial + 1,
        issued=before.issued,
        policy=before.policy,
        assignments=(Assignment(model="fashion", release=ref),),
    )
    stolen.sign_rollout(rollout, fleet.trust.online, fleet.trust.now)
    return stolen.metadata()
