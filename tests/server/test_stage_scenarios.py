"""Failures that others met, seen from the server: what a device says after its proof, and while its rollout is taken back."""

from edgefleet_server.rollouts.orders import Order, StageOrder
from tests.fakes.repository import FakeRepository

from .conftest import MakeServer
from .fleet_in_store import WEST, StoredFleet, make_fleet

STAGES = (StageOrder(count=2, soak_s=3600.0), StageOrder(percent=100.0))


def begun(make_server: MakeServer, repo: FakeRepository) -> tuple[StoredFleet, list[str]]:
    """Ten devices run fashion/1, and two of them are let in to fashion/2."""
    fleet = make_fleet(make_server, repo, 10)
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    fleet.switch("fashion/1")
    assert fleet.turn().status == "complete"
    fleet.server.controller.begin(Order("fashion/2", regions=(WEST,), stages=STAGES), "ana")
    return fleet, fleet.admitted()


def wanted(fleet: StoredFleet) -> list[str]:
    document = fleet.server.repository.rollout(WEST)
    assert document is not None
    return [row.release.path for row in document.assignments]


def test_s01_a_device_that_proved_it_and_failed_afterwards_stops_the_group(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet, first = begun(make_server, repo)
    fleet.switch("fashion/2", first)
    record = fleet.turn()
    assert (record.stage, "2 of 2 proven; it is judged on" in record.why) == (0, True)
    fleet.running[first[0]] = "fashion/1"
    fleet.say(first[0], failed="fashion/2")
    record = fleet.turn()
    assert record.status == "gone-back"
    assert f"1 of 2 failed, 50 % where 0 % may: {first[0]} (fp32 failed in trial: answers differ)" in record.why
    assert wanted(fleet) == [repo.ref("fashion/1").path], "nobody else was let in, and nobody will be"
    fleet.server.database.close()


def test_s10_a_rollout_that_is_taken_back_says_who_runs_its_release_until_nobody_does(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet, first = begun(make_server, repo)
    for name in first:
        fleet.running[name] = fleet.wanted[name] = "fashion/2"
        fleet.say(name, proven=False)
    record = fleet.server.controller.by_hand(WEST, None, "bo", "abort", "not today")
    assert record.status == "gone-back" and wanted(fleet) == [repo.ref("fashion/1").path]
    fleet.turn()
    serves = {row.device for row in fleet.server.controller.evidence(fleet.record)[0] if row.serves}
    assert serves == set(first), "on probation still: not told as cancelled while they run it"
    fleet.switch("fashion/1")
    fleet.turn()
    assert not any(row.serves for row in fleet.server.controller.evidence(fleet.record)[0])
    assert fleet.record.status == "gone-back" and fleet.record.why == "bo: not today"
    fleet.server.database.close()
