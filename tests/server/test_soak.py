"""A stage that is judged on after its gate opened: what fails or gets worse later still takes the release back."""

from dataclasses import replace

import msgspec
import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.rollout import Gate, NotWorse
from edgefleet_server.rollouts.compare import Comparison, Result
from edgefleet_server.rollouts.comparing import rules_of
from edgefleet_server.rollouts.decide import Compared, decide
from edgefleet_server.rollouts.gates import tally
from edgefleet_server.rollouts.orders import Order, StageOrder
from edgefleet_server.store.rollouts import Record
from tests.fakes.repository import FakeRepository

from .conftest import MakeServer
from .fleet_in_store import WEST, StoredFleet, make_fleet
from .records import record
from .test_gates import rows
from .test_rollout_order import order

SOAK_S = 1200.0
GATE = Gate(not_worse=NotWorse(min_requests=100, warm_up_s=0.0, wait_s=0.0, too_little="go-on"))
STAGES = (StageOrder(count=12, soak_s=SOAK_S), StageOrder(percent=100.0))


def soaking(since_s: float | None, gate: Gate = GATE) -> Record:
    facts = record(gate=gate)
    stages = tuple(msgspec.structs.replace(row, soak_s=600.0) for row in facts.assignment.stages)
    return replace(facts, assignment=msgspec.structs.replace(facts.assignment, stages=stages), soaking_s=since_s)


@pytest.mark.parametrize(
    ("since_s", "counts", "now", "kind", "words"),
    [
        (None, {"proven": 2}, 1100.0, "soak", "2 of 2 proven; it is judged on for 10 minutes"),
        (1100.0, {"proven": 2}, 1699.0, "wait", "it is judged on for 10 minutes"),
        (1100.0, {"proven": 2}, 1700.0, "open", "2 of 2 proven"),
        (1100.0, {"proven": 2, "failed": 1}, 1200.0, "go-back", "1 of 3 failed"),
        (1100.0, {"proven": 2, "under_way": 1}, 1700.0, "wait", "waits for under_way-0"),
        (None, {"proven": 2, "under_way": 1}, 1700.0, "wait", "waits for under_way-0"),
    ],
)
def test_the_next_stage_waits_until_its_time_is_over_and_its_gate_is_open(
    since_s: float | None, counts: dict[str, int], now: float, kind: str, words: str
) -> None:
    move = decide(soaking(since_s, Gate()), tally(rows(**counts)), 2, now)
    assert (move.kind, words in move.why) == (kind, True), move


@pytest.mark.parametrize(("later", "kind"), [("worse", "go-back"), ("too little", "wait"), ("not worse", "wait")])
def test_what_comes_later_can_only_speak_against_it(later: Result, kind: str) -> None:
    compared = Compared(Comparison("not worse", "fine"), None, Comparison(later, f"it is {later}"))
    move = decide(soaking(1100.0), tally(rows(proven=2)), 2, 1200.0, compared)
    assert move.kind == kind
    assert kind == "wait" or "on the same devices: later on, it is worse" in move.why


def test_devices_that_are_compared_twice_share_the_false_alarms_of_once() -> None:
    once, twice = (rules_of(row.assignment, 0) for row in (record(gate=GATE), soaking(None)))
    assert once is not None and twice is not None and twice.alpha == once.alpha / 2


def begun(make_server: MakeServer, repo: FakeRepository) -> StoredFleet:
    """fashion/2 was as fast as fashion/1 when it came, and its first stage is judged on."""
    fleet = make_fleet(make_server, repo, 30)
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    fleet.switch("fashion/1")
    assert fleet.turn(2).status == "complete"
    fleet.measure(fleet.names, 0.010)
    whole = Order("fashion/2", regions=(WEST,), stages=STAGES, gate=GATE)
    (plan,) = fleet.server.controller.plan(whole)
    assert plan.verdicts[0].endswith("; then it is judged on for 20 minutes") and "judged" not in plan.verdicts[1]
    fleet.server.controller.begin(whole, "ana")
    fleet.switch("fashion/2", fleet.admitted())
    fleet.measure(fleet.admitted(), 0.010)
    facts = fleet.turn()
    assert (facts.status, facts.stage, facts.soaking_s) == ("running", 0, fleet.clock.at)
    assert "it is judged on for 20 minutes" in facts.why
    return fleet


def test_a_model_that_gets_slower_after_its_first_requests_goes_back(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = begun(make_server, repo)
    fleet.clock.at += SOAK_S / 2
    fleet.measure(fleet.admitted(), 0.014)
    facts = fleet.turn()
    assert facts.status == "gone-back", facts.why
    assert "on the same devices: later on, latency is worse: +" in facts.why
    client = TestClient(fleet.server.web, base_url="http://127.0.0.1:8300")
    (shown,) = client.get("/api/v1/rollouts/eu-west/comparison").json()["items"]
    assert (shown["later"]["result"], shown["later"]["devices"]) == ("worse", 12) and shown["result"] != "worse"
    assert "By what was served later" in client.get(f"/rollouts/eu-west/{facts.id}").text
    fleet.server.database.close()


def test_one_that_stays_as_it_was_goes_on_when_its_time_is_over_and_a_person_need_not_wait(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = begun(make_server, repo)
    fleet.clock.at += SOAK_S / 2
    fleet.measure(fleet.admitted(), 0.010)
    assert fleet.turn().stage == 0
    fleet.server.controller.by_hand(WEST, None, "bo", "pause")
    resumed = fleet.server.controller.by_hand(WEST, None, "bo", "resume")
    assert resumed.soaking_s is None, "the stage's time is counted anew"
    assert fleet.turn().soaking_s == fleet.clock.at
    fleet.clock.at += SOAK_S
    for name in fleet.names:
        fleet.say(name)
    facts = fleet.turn()
    assert (facts.stage, facts.soaking_s) == (1, None), facts.why
    (shown,) = fleet.server.views.rollouts(WEST)
    assert [move["kind"] for move in shown["moves"]] == ["start", "soak", "pause", "resume", "soak", "open"]
    fleet.server.database.close()


def test_it_is_asked_for_of_each_stage_or_of_all() -> None:
    assert [row.soak_s for row in order("--stages", "10,100", "--soak", "60").every_stage] == [60.0, 60.0]
    long = order("--stage", "count=5 soak=3600", "--stage", "percent=100", "--soak", "60").every_stage
    assert [row.soak_s for row in long] == [3600.0, 60.0]
