"""A rollout that stops itself because the model is worse, from windows in the database to the signed document."""

from dataclasses import replace

import pytest

from edgefleet_protocol.rollout import Gate, NotWorse, ReleaseRef
from edgefleet_server.app import Server
from edgefleet_server.errors import Refused
from edgefleet_server.rollouts.orders import Order, StageOrder
from edgefleet_server.store import audit
from tests.fakes.repository import PASSPHRASE, FakeRepository

from .conftest import MakeServer
from .fleet_in_store import WEST, StoredFleet, make_fleet

GATE = Gate(not_worse=NotWorse(min_requests=100, warm_up_s=0.0, wait_s=1800.0))
STAGES = (StageOrder(count=12), StageOrder(percent=100.0))


def begun(
    make_server: MakeServer, repo: FakeRepository, gate: Gate = GATE, count: int = 30, **config: object
) -> StoredFleet:
    """A fleet that runs fashion/1 and has served for a while; fashion/2 is begun, and its first stage runs it."""
    fleet = make_fleet(make_server, repo, count, **config)
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    fleet.switch("fashion/1")
    assert fleet.turn(2).status == "complete"
    fleet.measure(fleet.names, 0.010)
    fleet.server.controller.begin(Order("fashion/2", regions=(WEST,), stages=STAGES, gate=gate), "ana")
    first = fleet.admitted()
    assert len(first) == 12
    fleet.switch("fashion/2", first)
    return fleet


def current(fleet: StoredFleet) -> ReleaseRef:
    document = fleet.server.repository.rollout(WEST)
    assert document is not None
    return document.assignments[-1].release


def test_a_slower_model_goes_back_with_the_figures_although_every_device_proved_it(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = begun(make_server, repo)
    assert "too little evidence yet" in fleet.turn().why
    fleet.measure(fleet.admitted(), 0.013)
    record = fleet.turn()
    assert record.status == "gone-back"
    assert "the model is worse than the one before on the same devices: latency is worse: +" in record.why
    assert "where +5.0 % may, on 12 devices" in record.why
    assert current(fleet) == repo.ref("fashion/1")
    with fleet.server.database.read() as connection:
        newest = audit.latest(connection)[0]
    assert (newest.actor, newest.action) == ("the controller", "rollout.go-back")
    (shown,) = fleet.server.views.rollouts(WEST)
    assert shown["moves"][-1]["why"] == record.why
    fleet.server.database.close()


def in_a_heat_wave(make_server: MakeServer, repo: FakeRepository, **config: object) -> StoredFleet:
    """The same, and all devices got slower, those that kept the model before, too; the controller has looked."""
    fleet = begun(make_server, repo, **config)
    at_s = fleet.clock.at
    fleet.measure(set(fleet.names) - set(fleet.admitted()), 0.013)
    fleet.clock.at = at_s
    fleet.measure(fleet.admitted(), 0.013)
    assert fleet.turn().status == "running"
    return fleet


def test_a_heat_wave_over_all_devices_is_no_fault_of_the_model(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = in_a_heat_wave(make_server, repo)
    record = fleet.server.controller.current(WEST)[0]
    assert "more because devices that kept the model before changed by that, too" in record.why
    fleet.server.database.close()


def test_a_model_that_is_as_fast_goes_on(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = begun(make_server, repo)
    fleet.measure(fleet.admitted(), 0.010, windows=20)
    record = fleet.turn()
    assert (record.status, record.stage) == ("running", 1), record.why
    with fleet.server.database.read() as connection:
        assert "not worse than the model before: latency is not worse" in audit.latest(connection)[0].outcome
    fleet.server.database.close()


def test_too_little_evidence_pauses_and_a_person_goes_on(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = begun(make_server, repo)
    fleet.clock.at += 1800
    for name in fleet.names:
        fleet.say(name)
    record = fleet.turn()
    assert record.status == "paused"
    assert "too little evidence after 30 minutes" in record.why
    assert "edgefleet rollout next eu-west" in record.why
    record = fleet.server.controller.by_hand(WEST, None, "ana", "next", "I looked at them")
    assert (record.status, record.stage, record.why) == ("running", 1, "ana: I looked at them")
    assert len(fleet.admitted()) == 30
    fleet.server.database.close()


def test_errors_alone_bring_it_back(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = begun(make_server, repo)
    fleet.measure(fleet.admitted(), 0.010, errors=3)
    record = fleet.turn()
    assert record.status == "gone-back"
    assert "errors is worse: 5.00 % of requests after 0.00 % before where +0.5 points may" in record.why
    fleet.server.database.close()


def test_a_server_that_dies_between_the_evidence_and_the_move_makes_the_same_move(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = begun(make_server, repo)
    fleet.measure(fleet.admitted(), 0.013)
    record = fleet.record
    weighed = fleet.server.controller.evidence(record)
    assert len(weighed[0]) == 30
    fleet.server.database.close()
    fleet.server = Server(fleet.server.config, PASSPHRASE, fleet.clock)
    again = fleet.turn()
    assert again.status == "gone-back"
    pairs = fleet.server.controller.pairs(again)
    fleet.server.database.close()
    fleet.server = Server(fleet.server.config, PASSPHRASE, fleet.clock)
    assert fleet.server.controller.pairs(again) == pairs and len(pairs) == 12, "what was compared is kept"
    fleet.server.database.close()


def test_nothing_ran_before_so_nothing_is_compared(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 3)
    (plan,) = fleet.server.controller.plan(Order("fashion/1", regions=(WEST,), gate=GATE))
    assert plan.verdicts == ("nothing ran before, so there is nothing to compare with",)
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,), gate=GATE), "ana")
    fleet.switch("fashion/1")
    assert fleet.turn().status == "complete"
    fleet.server.database.close()


def test_the_plan_says_how_long_a_verdict_takes_and_what_is_started_is_what_was_planned(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 30)
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    fleet.switch("fashion/1")
    fleet.turn(2)
    fleet.measure(fleet.names, 0.010)
    order = Order("fashion/2", regions=(WEST,), stages=STAGES, gate=GATE)
    (plan,) = fleet.server.controller.plan(order)
    assert plan.classes == {"pi4": (12, 18)}
    assert "12 devices until then and about" in plan.verdicts[0] and "it pauses with too little" in plan.verdicts[0]
    assert plan.verdicts[1].endswith("expected in less than two minutes")
    assert 0 < plan.move_bytes <= 30 * plan.wire_bytes
    other = Order("fashion/2", regions=(WEST,), stages=(50.0, 100.0), gate=GATE, plan_digest=plan.digest)
    with pytest.raises(Refused, match="it would not do what was planned"):
        fleet.server.controller.begin(other, "ana")
    fleet.add(["a-late-one"])
    same = Order("fashion/2", regions=(WEST,), stages=STAGES, gate=GATE, plan_digest=plan.digest)
    with pytest.raises(
        Refused, match=r"the devices of the stages were 12, 18 \(30 devices\) and are 12, 19 \(31 devices\)"
    ):
        fleet.server.controller.begin(same, "ana")
    (again,) = fleet.server.controller.plan(replace(same, plan_digest=""))
    assert fleet.server.controller.begin(replace(same, plan_digest=again.digest), "ana")[0].matched == 31
    fleet.server.database.close()
