"""Moves beyond counting: the model against the one before, a person's yes, waves."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from edgefleet_protocol.rollout import Gate, NotWorse, Stage
from edgefleet_server.rollouts.compare import Comparison, Result
from edgefleet_server.rollouts.decide import Compared, Move, decide
from edgefleet_server.rollouts.gates import judge, tally
from edgefleet_server.rollouts.waves import Wave
from edgefleet_server.store.rollouts import Record

from .records import record
from .test_gates import rows

NOW = 1100.0
MODEL = Gate(not_worse=NotWorse(wait_s=300.0))
LOOSE = Gate(not_worse=NotWorse(wait_s=300.0, too_little="go-on", on_worse="pause"))


def move(facts: Record, result: Result = "too little", now: float = NOW, expected_s: float | None = 600.0) -> Move:
    compared = Compared(Comparison(result, f"it is {result}", devices=4), expected_s)
    return decide(facts, tally(rows(proven=2)), 2, now, compared)


@pytest.mark.parametrize(
    ("gate", "status", "result", "now", "kind", "words"),
    [
        (MODEL, "running", "worse", NOW, "go-back", "worse than the one before on the same devices: it is worse"),
        (MODEL, "paused", "worse", NOW, "go-back", "it is worse"),
        (LOOSE, "running", "worse", NOW, "pause", "it is worse"),
        (LOOSE, "paused", "worse", NOW, "wait", "as it was"),
        (MODEL, "running", "not worse", NOW, "open", "not worse than the model before: it is not worse"),
        (MODEL, "running", "too little", NOW, "wait", "too little evidence yet, a verdict is expected in 10 minutes"),
        (
            MODEL,
            "running",
            "too little",
            1301.0,
            "pause",
            "too little evidence after 5 minutes, and its gate does not go",
        ),
        (LOOSE, "running", "too little", 1301.0, "open", "goes on with too little evidence, as its gate says"),
        (LOOSE, "running", "too little", NOW, "wait", "too little evidence yet"),
    ],
)
def test_the_three_verdicts_and_what_follows_from_each(
    gate: Gate, status: Any, result: Result, now: float, kind: str, words: str
) -> None:
    found = move(record(gate=gate, status=status), result, now)
    assert (found.kind, words in found.why) == (kind, True), found


def test_who_may_not_go_on_is_told_how_to() -> None:
    assert move(record(gate=MODEL), now=1301.0).why.endswith("To go on all the same: edgefleet rollout next eu-west")
    assert "nobody can say when there is more" in move(record(gate=MODEL), expected_s=None).why


def test_failures_count_before_the_comparison_and_a_gate_that_does_not_ask_ignores_it() -> None:
    worse = Compared(Comparison("worse", "slow"))
    broken = decide(record(gate=MODEL), tally(rows(proven=2, failed=1)), 2, NOW, worse)
    assert "1 of 3 failed" in broken.why
    assert decide(record(), tally(rows(proven=2)), 2, NOW, worse).kind == "open"


def approval(approved: int = 0, stage: int = 0) -> Record:
    facts = record(stage=stage)
    stages = (facts.assignment.stages[0], msgspec.structs.replace(facts.assignment.stages[1], approval=True))
    return replace(facts, assignment=msgspec.structs.replace(facts.assignment, stages=stages), approved=approved)


def test_a_stage_that_needs_a_yes_waits_for_it_and_says_how() -> None:
    found = decide(approval(), tally(rows(proven=2)), 2, NOW)
    assert found.kind == "wait"
    assert found.why.endswith("2 of 2 proven; stage 2 waits for a person: edgefleet rollout approve eu-west")
    assert decide(approval(approved=1), tally(rows(proven=2)), 2, NOW).kind == "open"
    assert decide(approval(), tally(rows(proven=1, under_way=1)), 2, NOW).kind == "wait", (
        "a yes before replaces no proof"
    )
    assert decide(approval(stage=1, approved=1), tally(rows(proven=2)), 2, NOW).kind == "complete"


def test_a_stage_that_opens_in_waves_is_judged_when_all_are_let_in() -> None:
    facts = record()
    shut = replace(facts, assignment=msgspec.structs.replace(facts.assignment, opened_percent=10.0))
    assert decide(shut, tally(rows(proven=2)), 2, NOW).kind == "wait"
    found = decide(shut, tally(rows(proven=2)), 2, NOW, wave=Wave(20.0, "more"))
    assert (found.kind, found.opened_percent, found.stage(0)) == ("wave", 20.0, 0)
    assert decide(shut, tally(rows(proven=2, failed=1)), 2, NOW, wave=Wave(20.0, "more")).kind == "go-back"
    paused = replace(shut, status="paused")
    assert decide(paused, tally(rows(proven=2)), 2, NOW, wave=Wave(20.0, "more")).kind == "wait"


@pytest.mark.parametrize(
    ("gate", "counts", "result"),
    [
        (Gate(max_failed_percent=100, max_failed=1), {"proven": 50, "failed": 2}, "broken"),
        (Gate(max_failed_percent=100, max_failed=2), {"proven": 50, "failed": 2}, "open"),
        (Gate(max_failed_percent=10, min_ended=5), {"under_way": 4, "failed": 2}, "wait"),
        (Gate(max_failed_percent=10, min_ended=5), {"proven": 3, "under_way": 1, "failed": 2}, "broken"),
        (Gate(min_proven_percent=50, min_proven=8), {"proven": 7, "under_way": 3}, "wait"),
        (Gate(min_proven_percent=50, min_proven=8), {"proven": 8, "under_way": 2}, "open"),
        (Gate(min_proven=8), {"proven": 3}, "too few"),
    ],
)
def test_gates_by_number(gate: Gate, counts: dict[str, int], result: str) -> None:
    assert judge(gate, tally(rows(**counts))).result == result


def test_a_gate_that_wants_more_devices_than_there_are_asks_a_person_after_the_deadline() -> None:
    facts, counts = record(gate=Gate(min_proven=8)), tally(rows(proven=3))
    assert decide(facts, counts, 3, NOW).kind == "wait"
    late = decide(facts, counts, 3, 1000.0 + 601.0)
    assert late.kind == "pause" and "its gate wants 8 at least" in late.why


def test_a_stage_says_whom_it_is_for() -> None:
    facts = record(stage=1)
    stages = (Stage(percent=0.0, devices=("a", "b")), Stage(percent=20.0, hardware=("pi4",)))
    said = replace(facts, assignment=msgspec.structs.replace(facts.assignment, stages=stages))
    assert "stage 2 of 2 (20 % of pi4)" in decide(said, tally(rows(under_way=1)), 0, NOW).why
    first = replace(said, assignment=msgspec.structs.replace(said.assignment, stage=0))
    assert "stage 1 of 2 (2 named)" in decide(first, tally(rows(under_way=1)), 0, NOW).why
