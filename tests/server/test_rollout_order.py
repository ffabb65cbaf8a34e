"""What `rollout start` takes becomes what the API is sent, and what the API is sent becomes an order."""

import argparse
from typing import Any

import pytest

from edgefleet_protocol.rollout import NotWorse
from edgefleet_server.api.bodies import RolloutBody
from edgefleet_server.cli import rollout_order
from edgefleet_server.cli.rollout import main as rollout
from edgefleet_server.client import Api
from edgefleet_server.client import BadRequest as Bad
from edgefleet_server.errors import BadRequest, Refused
from edgefleet_server.rollouts.orders import Order, StageOrder, check
from edgefleet_server.store import rollouts
from tests.fakes.repository import FakeRepository

from .conftest import MakeServer
from .fleet_in_store import WEST, make_fleet


def body(*words: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    rollout_order.add_options(parser)
    return rollout_order.body(parser.parse_args(["fashion/1", *words]))


def order(*words: str) -> Order:
    return RolloutBody(**body(*words)).order()


def test_shares_are_stages_and_so_is_the_long_form() -> None:
    assert order("--stages", "1,50,100").every_stage == tuple(StageOrder(percent=p) for p in (1.0, 50.0, 100.0))
    long = order(
        "--stage", "devices=a,b", "--stage", "count=5 hardware=pi4,pi5 tags=lab", "--stage", "percent=100 approval"
    )
    assert long.every_stage == (
        StageOrder(devices=("a", "b")),
        StageOrder(count=5, hardware=("pi4", "pi5"), tags=("lab",)),
        StageOrder(percent=100.0, approval=True),
    )
    assert [row.approval for row in order("--stages", "1,10,100", "--approve-each").every_stage] == [False, True, True]


def test_only_the_margins_that_are_named_are_looked_at() -> None:
    assert order().gate.not_worse is None
    assert order("--not-worse", "default").gate.not_worse == NotWorse()
    found = order("--not-worse", "memory=20,errors=1", "--too-little", "go-on", "--verdict-within", "60").gate.not_worse
    assert found == NotWorse(
        latency_percent=None, error_points=1.0, memory_percent=20.0, too_little="go-on", wait_s=60.0
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--stages", "10", "--stage", "count=5"), "two ways to say the same"),
        (("--stage", "colour=red"), "colour=red is not known. Known: percent, count"),
        (("--stages", ""), "write percents with commas"),
        (("--stage", "percent=5 percent=100"), "says percent twice"),
        (("--stage", "count=many"), "many is no number"),
        (("--not-worse", "speed=5"), "'speed' is not known. Known: latency"),
        (("--not-worse", "latency=fast"), "write a number, as in latency=5"),
    ],
)
def test_what_makes_no_sense_says_what_would(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        body(*words)


def test_a_stage_of_nothing_is_shown_as_it_was_written() -> None:
    repo_order = Order("fashion/1", stages=(0.0, 50.0))
    assert [row.words for row in repo_order.every_stage] == ["0 %", "50 %"]


@pytest.mark.parametrize("words", [("--not-worse", "latency=nan"), ("--stages", "nan"), ("--stage", "percent=inf")])
def test_a_number_that_json_cannot_say_is_not_sent_as_not_set(words: tuple[str, ...]) -> None:
    with pytest.raises(Bad, match=r"(latency_percent|percent) is (nan|inf): write a finite number"):
        Api("http://127.0.0.1:9").raw("POST", "/api/v1/rollouts", body=body(*words))


def test_gates_late_joiners_and_waves_arrive_as_they_were_asked_for() -> None:
    found = order(
        "--max-failed-devices", "2", "--min-proven-devices", "3", "--min-ended", "4", "--late-joiners", "wait",
        "--max-under-way", "7",
    )  # fmt: skip
    assert (found.gate.max_failed, found.gate.min_proven, found.gate.min_ended) == (2, 3, 4)
    assert (found.late_joiners, found.max_under_way) == ("wait", 7)


def test_a_rollout_under_way_is_not_started_over_by_a_second_start(
    make_server: MakeServer, repo: FakeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = make_fleet(make_server, repo, 2)
    staged = Order("fashion/1", regions=(WEST,), stages=(50.0, 100.0))
    fleet.server.controller.begin(staged, "ana")
    with pytest.raises(Refused, match=r"fashion/1 is under way in eu-west already, at stage 1 of 2"):
        fleet.server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    assert len(fleet.record.assignment.stages) == 2
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,), force=True), "ana")
    assert len(fleet.record.assignment.stages) == 1
    assert rollout(["start", "fashion/1", "--plan", "", "--server", "http://127.0.0.1:9"]) == 2
    assert "--plan is empty" in capsys.readouterr().err
    fleet.server.database.close()


def test_a_withdrawn_release_is_refused_with_the_way_on(make_server: MakeServer, repo: FakeRepository) -> None:
    with pytest.raises(Refused, match=r"fashion/9 was withdrawn: .* Still listed of fashion: fashion/1, fashion/2"):
        check(Order("fashion/9"), repo.repository, once={"fashion/9"})
    fleet = make_fleet(make_server, repo, 2)
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    record = fleet.record
    gone = record.assignment.release.__class__(path=record.assignment.release.path, sha256="0" * 64)
    with fleet.server.database.write() as connection:  # as if its holders had unlisted it since
        rollouts.add(
            connection,
            region=WEST,
            assignment=record.assignment.__class__(model="fashion", release=gone),
            release="fashion/1",
            policy=record.policy,
            previous=None,
            previous_policy=None,
            why="ana started it",
            now=fleet.clock.at,
        )
    record = fleet.turn()
    assert (record.status, "its release was withdrawn" in record.why) == ("gone-back", True)
    fleet.server.database.close()
