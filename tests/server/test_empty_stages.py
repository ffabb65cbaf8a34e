"""A stage that is for nobody proves nothing: it is refused, made wide enough for one, or waited for, and never passed by."""

import msgspec
import pytest

from edgefleet_protocol.audience import is_for, stable_number
from edgefleet_protocol.rollout import Assignment
from edgefleet_server.errors import Refused
from edgefleet_server.rollouts.emptiness import is_empty
from edgefleet_server.rollouts.orders import Order, StageOrder
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import PI4

from .conftest import MakeServer
from .fleet_in_store import WEST, StoredFleet, make_fleet
from .records import assignment, device

FIVE = msgspec.structs.replace(PI4, hardware_class="pi5")
FIVES_FIRST = (StageOrder(percent=100.0, hardware=("pi5",)), StageOrder(percent=100.0))


def begin(fleet: StoredFleet, **fields: object) -> None:
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,), **fields), "ana")  # type: ignore[arg-type]


def test_s05_a_stage_for_a_class_that_is_not_there_is_refused_and_forced_it_waits(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 4)
    with pytest.raises(Refused, match=r"stage 1 \(100 % of pi5\) is for no device in eu-west that would run it"):
        begin(fleet, stages=FIVES_FIRST)
    begin(fleet, stages=FIVES_FIRST, force=True)
    record = fleet.turn(3)
    assert (record.status, record.stage, fleet.admitted()) == ("running", 0, [])
    assert "it waits for one that comes" in record.why and record.why.endswith("edgefleet rollout next eu-west")
    fleet.add(["five"], FIVE)
    fleet.switch("fashion/1", ["five"])
    record = fleet.turn()
    assert (record.stage, len(fleet.admitted())) == (1, 5), "one came, and proved it"
    fleet.server.database.close()


def test_nobody_who_comes_later_is_waited_for_where_they_take_no_part(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 4)
    begin(fleet, stages=FIVES_FIRST, force=True, late_joiners="wait", deadline_s=600.0)
    assert "those that come to the region now take it once it is complete" in fleet.turn().why
    assert fleet.server.controller.by_hand(WEST, None, "bo", "next", "there are no pi5").stage == 1
    assert len(fleet.admitted()) == 4
    fleet.server.database.close()


def test_a_stage_in_the_middle_that_is_for_nobody_is_not_passed_on_the_proofs_of_others(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 4)
    begin(fleet, stages=(StageOrder(count=2), *FIVES_FIRST), force=True, deadline_s=600.0)
    fleet.switch("fashion/1", fleet.admitted())
    record = fleet.turn(3)
    assert (record.stage, "stage 2 of 3 (100 % of pi5): it is for no device" in record.why) == (1, True)
    fleet.clock.at += 601
    record = fleet.turn()
    assert record.status == "paused" and "so there is no evidence to go on with" in record.why
    fleet.server.database.close()


def test_a_share_of_a_small_region_is_one_device_at_least(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 5)
    order = Order("fashion/1", regions=(WEST,), stages=(0.001, 0.002, 100.0))
    (plan,) = fleet.server.controller.plan(order)
    assert plan.refused is None and plan.classes == {"pi4": (1, 0, 4)}
    assert plan.notes[0] == "stage 1 (0.001 %) comes to no device in eu-west, so it is for the first one"
    fleet.server.controller.begin(order, "ana")
    assert len(fleet.admitted()) == 1
    fleet.switch("fashion/1", fleet.admitted())
    assert fleet.turn(2).stage == 2
    fleet.server.database.close()


def test_a_number_of_devices_of_one_class_counts_that_class(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 20)
    fleet.add([f"five-{n}" for n in range(6)], FIVE)
    stages = (StageOrder(count=4, hardware=("pi5",)), StageOrder(percent=100.0))
    (plan,) = fleet.server.controller.plan(Order("fashion/1", regions=(WEST,), stages=stages))
    assert plan.classes == {"pi4": (0, 20), "pi5": (4, 2)}
    fleet.server.database.close()


def test_a_stage_is_looked_at_by_itself() -> None:
    def of(stage: int) -> Assignment:
        return assignment(stages=(50.0, 100.0), stage=stage)

    fleet = [device(f"d{n}") for n in range(9)]
    first = [row for row in fleet if stable_number(row.id, of(0)) < 50.0]
    others = [row for row in fleet if row not in first]
    assert first and others
    assert not is_empty(of(0), fleet) and is_empty(of(0), others) and not is_empty(of(1), first)
    assert is_for(of(1).stages[1], "d0", (), "pi4", 99.0)
