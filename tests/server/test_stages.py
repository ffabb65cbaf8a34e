"""Stages of every kind, late joiners, waves, yeses and hands, on the signed document that devices obey."""

import msgspec
import pytest

from edgefleet_protocol.rollout import Audience, Gate, NotWorse
from edgefleet_server.alerts.facts import AlertFacts
from edgefleet_server.alerts.findings import find
from edgefleet_server.alerts.rules import DEFAULTS
from edgefleet_server.cli.rollout_text import plan_text
from edgefleet_server.errors import BadRequest, Refused
from edgefleet_server.replica.elsewhere import Elsewhere, NoSigner
from edgefleet_server.rollouts.controller import Controller
from edgefleet_server.rollouts.orders import Order, StageOrder
from edgefleet_server.store import audit, comparisons
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import PI4

from .conftest import MakeServer
from .fleet_in_store import WEST, StoredFleet, make_fleet

FIVE = msgspec.structs.replace(PI4, hardware_class="pi5")
NAMED = (StageOrder(devices=("pi-03", "pi-07")), StageOrder(count=6), StageOrder(percent=100.0))


def begin(fleet: StoredFleet, release: str = "fashion/1", **fields: object) -> None:
    fleet.server.controller.begin(Order(release, regions=(WEST,), **fields), "ana")  # type: ignore[arg-type]


def test_an_explicit_cohort_then_a_number_then_everybody(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 20)
    begin(fleet, stages=NAMED)
    assert fleet.admitted() == ["pi-03", "pi-07"]
    fleet.switch("fashion/1", fleet.admitted())
    fleet.turn()
    # The number counts those with the smallest numbers; who was named stays in beside them.
    second = fleet.admitted()
    assert {"pi-03", "pi-07"} <= set(second) and 6 <= len(second) <= 8
    fleet.switch("fashion/1", second)
    fleet.turn()
    assert len(fleet.admitted()) == 20
    fleet.switch("fashion/1")
    assert fleet.turn().status == "complete"
    fleet.server.database.close()


def test_a_stage_of_one_class_leaves_the_other_unproven_and_the_plan_says_so(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 6)
    fleet.add(["five-1", "five-2"], FIVE)
    stages = (StageOrder(percent=100.0, hardware=("pi4",)), StageOrder(percent=100.0))
    (plan,) = fleet.server.controller.plan(Order("fashion/1", regions=(WEST,), stages=stages))
    assert plan.classes == {"pi4": (6, 0), "pi5": (0, 2)}
    assert plan.unproven == (
        "pi5: none of its 2 devices comes before stage 2, so until then the release is not proven on this class",
    )
    begin(fleet, stages=stages)
    assert fleet.admitted() == [f"pi-{n:02}" for n in range(6)]
    fleet.server.database.close()


def test_a_large_stage_opens_in_waves_and_each_has_its_own_time(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 30)
    begin(fleet, max_under_way=10)
    seen = [len(fleet.admitted())]
    while fleet.record.status == "running":
        fleet.switch("fashion/1", fleet.admitted())
        fleet.turn()
        seen.append(len(fleet.admitted()))
    assert seen[:3] == [10, 20, 30]
    assert fleet.record.status == "complete"
    kinds = [move["kind"] for move in fleet.server.views.rollouts(WEST)[0]["moves"]]
    assert kinds == ["start", "wave", "wave", "complete"]
    fleet.server.database.close()


def test_a_stage_that_a_person_opens_counts_those_that_are_under_way_as_the_controller_does(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 30)
    begin(fleet, stages=(StageOrder(count=6), StageOrder(percent=100.0)), max_under_way=10)
    assert len(fleet.admitted()) == 6
    assert fleet.server.controller.by_hand(WEST, None, "bo", "next").stage == 1
    assert len(fleet.admitted()) == 10, "six fetch still"
    fleet.switch("fashion/1", fleet.admitted())
    fleet.turn()
    assert len(fleet.admitted()) == 20
    fleet.server.database.close()


def test_late_joiners_take_part_or_wait_until_it_is_complete(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 4)
    begin(fleet, late_joiners="wait")
    fleet.clock.at += 60
    fleet.server.controller.assign("late", WEST, (), "ana")
    fleet.add(["late"])
    assert fleet.admitted() == ["pi-00", "pi-01", "pi-02", "pi-03"]
    fleet.switch("fashion/1", fleet.admitted())
    record = fleet.turn()
    assert record.status == "complete", "who is not meant holds nothing up"
    assert "late" in fleet.admitted()
    fleet.server.database.close()


def test_late_joiners_of_an_audience_take_it_once_it_is_complete_too(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 4)
    begin(fleet, late_joiners="wait", audience=Audience(hardware=("pi4",)))
    fleet.clock.at += 60
    fleet.server.controller.assign("late", WEST, (), "ana")
    fleet.add(["late"])
    fleet.switch("fashion/1", fleet.admitted())
    assert "late" not in fleet.admitted()
    assert fleet.turn().status == "complete"
    assert "late" in fleet.admitted()
    fleet.server.database.close()


def test_a_stage_that_asks_for_a_yes_opens_after_it_and_never_before(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 10)
    begin(fleet, stages=(StageOrder(count=2), StageOrder(percent=100.0, approval=True)))
    with pytest.raises(Refused, match=r"stage 2 of fashion/1 in eu-west does not wait for a yes yet: .* 0 of 2 proven"):
        fleet.server.controller.by_hand(WEST, None, "bo", "approve")
    assert fleet.turn().approved == 0, "a yes ahead is none to evidence that nobody saw"
    fleet.switch("fashion/1", fleet.admitted())
    record = fleet.turn(3)
    assert (record.stage, "waits for a person: edgefleet rollout approve eu-west" in record.why) == (0, True)
    fleet.server.controller.by_hand(WEST, None, "bo", "pause")
    fleet.server.controller.by_hand(WEST, None, "bo", "approve", "seen them run")
    assert fleet.turn().stage == 0, "a pause is held all the same"
    fleet.server.controller.by_hand(WEST, None, "bo", "resume")
    assert fleet.turn().stage == 1
    with pytest.raises(Refused, match="waits for nobody's yes"):
        fleet.server.controller.by_hand(WEST, None, "bo", "approve")
    with fleet.server.database.read() as connection:
        deeds = [(row.actor, row.action) for row in audit.latest(connection)]
    hands = [("bo", f"rollout.{deed}") for deed in ("resume", "approve", "pause")]
    assert deeds == [("the controller", "rollout.open"), *hands, ("ana", "rollout.start")]
    fleet.server.database.close()


def test_a_yes_that_is_asked_of_a_process_that_never_leads_keeps_no_comparison_beside_the_leaders(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 12)
    server = fleet.server
    begin(fleet)
    fleet.switch("fashion/1")
    assert fleet.turn(2).status == "complete"
    fleet.measure(fleet.names, 0.010)
    stages = (StageOrder(count=6), StageOrder(percent=100.0, approval=True))
    begin(fleet, "fashion/2", stages=stages, gate=Gate(not_worse=NotWorse(min_requests=100, warm_up_s=0.0)))
    fleet.switch("fashion/2", fleet.admitted())
    fleet.measure(fleet.admitted(), 0.010)
    signer = NoSigner(Elsewhere(lambda: ""))
    known = server.repository, signer, server.database, server.config, fleet.clock, server.counters
    beside = Controller(*known, lambda: None, may_lead=False)
    with pytest.raises(Refused, match=r"does not wait for a yes yet: .* too little evidence yet.* on 6 devices"):
        beside.by_hand(WEST, None, "bo", "approve")
    with server.database.read() as connection:
        assert comparisons.of(connection, fleet.record.id) == (), "what it read is its own"
    record = fleet.turn()
    with server.database.read() as connection:
        assert comparisons.of(connection, record.id) == server.controller.pairs(record) != ()
    server.database.close()


def test_hands_are_for_the_rollouts_that_they_fit(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 2)
    begin(fleet)
    fleet.switch("fashion/1")
    hand = fleet.server.controller.by_hand
    with pytest.raises(Refused, match="is running; roll-back is for one that is complete"):
        hand(WEST, None, "ana", "roll-back")
    assert hand(WEST, None, "ana", "next").status == "complete"
    with pytest.raises(Refused, match="is complete; abort is for one that is running or paused"):
        hand(WEST, None, "ana", "abort")
    begin(fleet, "fashion/2")
    assert hand(WEST, None, "ana", "abort").status == "gone-back"
    fleet.server.database.close()


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((StageOrder(percent=10.0, count=3),), "say one of them"),
        ((StageOrder(),), "neither percent nor count nor devices"),
        ((StageOrder(count=5), StageOrder(count=5)), "each must be larger"),
        ((StageOrder(count=5, approval=True),), "a person's yes"),
        ((StageOrder(devices=tuple(f"d{n}" for n in range(501))),), "more than 500 devices"),
        ((StageOrder(devices=("NOT A NAME",)),), "devices.0. is 'NOT A NAME' and must be"),
    ],
)
def test_stages_that_make_no_sense_are_refused(
    make_server: MakeServer, repo: FakeRepository, stages: tuple[StageOrder, ...], words: str
) -> None:
    fleet = make_fleet(make_server, repo)
    with pytest.raises(BadRequest, match=words):
        fleet.server.controller.plan(Order("fashion/1", stages=stages))
    fleet.server.database.close()


def test_s02_a_device_that_died_while_it_updated_counts_as_failed_and_frees_its_place(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 4)
    begin(fleet, max_under_way=2, deadline_s=600.0, gate=Gate(max_failed_percent=60.0))
    dead, slow = fleet.admitted()
    for name in (dead, slow):
        fleet.wanted[name] = "fashion/1"
        fleet.say(name)
    fleet.turn()
    assert len(fleet.admitted()) == 2, "no place is free"
    fleet.clock.at += 601
    fleet.switch("fashion/1", [slow])
    record = fleet.turn()
    assert len(fleet.admitted()) == 4, record.why
    fleet.switch("fashion/1", set(fleet.names) - {dead})
    record = fleet.turn()
    assert record.status == "complete", record.why
    (row,) = fleet.server.views.rollouts(WEST)
    standing = {one["device"]: (one["standing"], one["why"]) for one in row["evidence"]}
    assert standing[dead][0] == "failed"
    assert standing[dead][1].startswith("not proven 11 minutes after it was admitted")
    fleet.server.database.close()


def test_s03_a_rollout_closes_with_what_is_outstanding_and_the_late_one_takes_the_newest(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 50)
    fleet.say("pi-00", live=False)
    begin(fleet)
    fleet.clock.at += 86400
    fleet.switch("fashion/1", fleet.names[1:])
    record = fleet.turn()
    assert record.status == "complete"
    assert "49 of 49 proven; 1 counted apart: pi-00 (offline" in record.why and record.why.endswith("1 outstanding")
    begin(fleet, "fashion/2")
    fleet.switch("fashion/2", fleet.names[1:])
    assert fleet.turn().status == "complete"
    assert "pi-00" in fleet.admitted()
    fleet.server.database.close()


def test_s04_percents_are_of_those_that_can_and_the_frozen_are_listed_apart(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 10)
    for name in fleet.names[:5]:
        fleet.server.controller.assign(name, WEST, ("frozen",), "ana")
    begin(fleet, gate=Gate(max_failed_percent=25.0, min_proven_percent=80.0))
    fleet.switch("fashion/1", fleet.names[6:])
    fleet.say("pi-05", failed="fashion/1")
    record = fleet.turn()
    assert record.status == "complete", record.why
    assert "4 of 4 proven; 5 counted apart: pi-00 (it is tagged frozen)" in record.why
    fleet.server.database.close()


def test_s05_a_filter_that_matches_nothing_is_refused_with_the_reasons(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 2)
    stages = (StageOrder(percent=100.0, tags=("no-such-tag",)),)
    (plan,) = fleet.server.controller.plan(Order("fashion/1", regions=(WEST,), stages=stages))
    assert plan.matched == 0 and "no stage is for it: the last is for 100 % of no-such-tag" in plan.left_out[0].why
    with pytest.raises(Refused, match="2 devices in eu-west, and none would run it"):
        begin(fleet, stages=stages)
    begin(fleet)
    fleet.switch("fashion/1")
    fleet.turn()
    with pytest.raises(Refused, match="eu-west runs fashion/1 already"):
        begin(fleet)
    fleet.server.database.close()


def test_s07_six_rollouts_while_a_device_is_away_leave_one_wish(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 1)
    for release in ("fashion/1", "fashion/2") * 3:
        begin(fleet, release, force=True)
    document = fleet.server.repository.rollout(WEST)
    assert document is not None
    assert [row.release for row in document.assignments] == [repo.ref("fashion/2")]
    statuses = [row["status"] for row in fleet.server.views.rollouts(WEST, past=True)]
    assert statuses == ["running", *["superseded"] * 5]
    fleet.server.database.close()


def test_a_release_that_fails_on_who_comes_later_is_an_alert(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 3)
    begin(fleet)
    fleet.switch("fashion/1")
    assert fleet.turn().status == "complete"
    facts = fleet.server.watching.gatherer.gather()
    assert facts.rollouts[0].late_failures == ()
    fleet.clock.at += 60
    fleet.add(["late"])
    fleet.say("late", failed="fashion/1")
    (row,) = fleet.server.watching.gatherer.gather().rollouts
    assert row.late_failures == (("late", "fp32 failed in trial: answers differ"),)
    rule = next(rule for rule in DEFAULTS if rule.kind == "rollout")
    (finding,) = find(AlertFacts(rollouts=(row,)), [rule], {}, fleet.clock.at)
    assert "fashion/1 is what eu-west runs, and fails on 1 device that came to it after" in finding.text
    fleet.server.database.close()


def test_a_gate_of_a_stage_is_its_own(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 10)
    own = Gate(max_failed_percent=50.0, not_worse=NotWorse())
    begin(fleet, stages=(StageOrder(count=4, gate=own), StageOrder(percent=100.0)))
    stages = fleet.record.assignment.stages
    assert (stages[0].gate, stages[1].gate) == (own, Gate())
    fleet.server.database.close()


def test_a_start_that_cuts_another_short_says_so_before_and_afterwards_on_both(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = make_fleet(make_server, repo, 10)
    begin(fleet)
    fleet.switch("fashion/1")
    assert fleet.turn().status == "complete"
    begin(fleet, "fashion/2", stages=(StageOrder(count=2), StageOrder(percent=100.0)))
    fleet.turn()
    order = Order("fashion/1", regions=(WEST,), force=True)
    (plan,) = fleet.server.controller.plan(order)
    cut = "fashion/2 (rollout 2), which is running at stage 1 of 2"
    assert plan.notes == (
        f"It takes the place of {cut}: that one ends there, and devices that it let in go back to fashion/1 until fashion/1 lets "
        "them in",
    )
    assert plan_text(plan.to_json()).splitlines()[-2] == plan.notes[0]
    fleet.server.controller.begin(order, "bo")
    new, old, first = fleet.server.views.rollouts(WEST, past=True)
    assert f"bo started it for 10 devices, in the place of {cut}" in new["why"]
    assert old["why"].startswith("fashion/1 (rollout 3, started by bo) took its place; it was running at stage 1: ")
    assert old["moves"][-1]["kind"] == "superseded" and old["moves"][-1]["why"] == old["why"]
    assert first["why"].startswith("fashion/2 (rollout 2, started by ana) took its place; it was complete")
    with fleet.server.database.read() as connection:
        deeds = [(row.actor, row.action, row.subject) for row in audit.latest(connection)][:2]
    assert deeds == [("bo", "rollout.supersede", "fashion/2"), ("bo", "rollout.start", "fashion/1")]
    (again,) = fleet.server.controller.plan(Order("fashion/1", regions=(WEST,)))
    assert "takes the place of fashion/1 (rollout 3), which is running" in again.notes[0]
    fleet.server.database.close()
