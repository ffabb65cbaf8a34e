"""The rules of `decide` as a table: what is seen and wished, and the one step that follows."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from edgefleet_agent import steps
from edgefleet_agent.conditions import FREED_BYTES, Hold, Surroundings
from edgefleet_agent.decide import decide
from edgefleet_agent.rules.seen import Desired, Observed, ProbationSeen, WorkerSeen
from edgefleet_agent.rules.wish import choice_key
from edgefleet_agent.seams import TrialReport
from edgefleet_agent.slots import slot_name
from edgefleet_agent.store.facts import ChoiceFact, ModelFacts, Slot, TrialFact
from edgefleet_protocol.messages import Failure
from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import DeviceWindow
from tests.fakes.device import Package, assign, package
from tests.fakes.probe import PI4

OLD, NEW = package(1), package(2)
AROUND = Surroundings(DeviceWindow(), 10**9, None, 1000)
NOW = 1000.0


def slot_of(release: Package, proven: bool = True) -> Slot:
    return Slot(
        slot=slot_name(release.sha256, "small"),
        release=release.release.name,
        release_sha256=release.sha256,
        variant="small",
        variant_sha256=release.variant_sha256("small"),
        since_s=0.0,
        proven=proven,
    )


WANT = Desired("fashion", Policy(latency_budget_s=0.05), assign(NEW), "", NEW.release)
EMPTY = Observed("fashion", ModelFacts(), PI4, "0.1.0", AROUND, 0.0)
NOTED = replace(EMPTY, wish_age_s=10.0)
CHOICE = ChoiceFact(key=choice_key(NOTED, WANT), release_sha256=NEW.sha256, variant="small", why="the only one")
CHOSEN = replace(NOTED, facts=ModelFacts(choice=CHOICE))
SLOT = slot_name(NEW.sha256, "small")
WHOLE = replace(CHOSEN, slots=frozenset({SLOT}))
TRIED = replace(WHOLE, facts=ModelFacts(choice=CHOICE, trials=(TrialFact(slot=SLOT, passed=True),)))
LOADED = replace(TRIED, candidate=WorkerSeen(SLOT, "ready"))
CHUNKS = tuple(chunk for entry in NEW.release.files for chunk in entry.chunks)


def active(release: Package, proven: bool, seen: Observed = EMPTY, **facts: Any) -> Observed:
    """Return `seen` with a release that serves."""
    mine = slot_of(release, proven)
    return replace(
        seen,
        facts=msgspec.structs.replace(seen.facts, active=mine, **facts),
        slots=seen.slots | {mine.slot},
        server=WorkerSeen(mine.slot, "ready", True),
        probation=ProbationSeen(5.0),
    )


ON_PROBATION = active(NEW, False, CHOSEN, previous=slot_of(OLD))


@pytest.mark.parametrize(
    ("seen", "step"),
    [
        (EMPTY, steps.NoteWish),
        (NOTED, steps.Choose),
        (replace(CHOSEN, missing=CHUNKS), steps.Fetch),
        (CHOSEN, steps.Assemble),
        (WHOLE, steps.Try),
        (replace(WHOLE, trial="running"), steps.Wait),
        (replace(WHOLE, trial=TrialReport(True, "")), steps.NoteTrial),
        (TRIED, steps.Load),
        (replace(TRIED, candidate=WorkerSeen(SLOT, "starting")), steps.Wait),
        (replace(TRIED, candidate=WorkerSeen(SLOT, "dead", why_dead="exit 1")), steps.Fail),
        (LOADED, steps.Activate),
        (ON_PROBATION, steps.Wait),
        (replace(ON_PROBATION, probation=ProbationSeen(25.0)), steps.Prove),
        (replace(ON_PROBATION, probation=ProbationSeen(5.0, 100, 5)), steps.FallBack),
        (replace(ON_PROBATION, probation=ProbationSeen(5.0, 100, 0, 0.06)), steps.FallBack),
        (replace(ON_PROBATION, probation=ProbationSeen(5.0, 10, 0, 0.06)), steps.Wait),
        (replace(ON_PROBATION, wish_age_s=1e6), steps.FallBack),
        (active(NEW, False, CHOSEN, crashes=3), steps.FallBack),
        (active(NEW, True, CHOSEN), steps.Wait),
        (replace(active(OLD, True), server=None), steps.Serve),
        (replace(active(OLD, True), server=None, slots=frozenset()), steps.Restore),
        (replace(active(OLD, True), server=WorkerSeen(slot_of(OLD).slot, "ready")), steps.Accept),
        (replace(active(OLD, True), server=WorkerSeen(slot_of(OLD).slot, "dead")), steps.CountCrash),
        (replace(CHOSEN, wish_age_s=1e6), steps.Fail),
        (replace(CHOSEN, hold=Hold("no space", NOW + 5)), steps.Wait),
        (replace(CHOSEN, missing=CHUNKS, around=replace(AROUND, storage_free_bytes=10)), steps.Wait),
    ],
)
def test_one_step_follows(seen: Observed, step: type) -> None:
    found = decide(seen, WANT, NOW)
    assert isinstance(found, step), found
    assert found.why


def test_a_dead_worker_that_waits_for_its_next_start_does_not_keep_a_better_release_from_coming() -> None:
    seen = replace(active(OLD, True, CHOSEN), server=None, start_not_before=NOW + 60)
    assert isinstance(decide(seen, WANT, NOW), steps.Assemble)


@pytest.mark.parametrize("stage", ["choose", "switch", "probation", "deadline"])
def test_a_release_that_failed_for_real_requests_is_never_touched_again(stage: Any) -> None:
    failure = Failure(
        release="fashion/2", release_sha256=NEW.sha256, variant="small", stage=stage, reason="too slow", at_s=0.0
    )
    step = decide(replace(LOADED, facts=LOADED.facts.with_failure(failure)), WANT, NOW)
    assert isinstance(step, steps.Wait) and "too slow" in step.why


def test_without_a_wish_or_with_one_that_must_not_be_obeyed_what_runs_goes_on() -> None:
    for want in (Desired("fashion", Policy(), why="no assignment"), replace(WANT, release=None, problem="not listed")):
        step = decide(active(OLD, True, NOTED), want, NOW)
        assert isinstance(step, steps.Wait) and ("no assignment" in step.why or "not listed" in step.why)


def test_a_wish_that_must_not_be_obeyed_fails_at_its_deadline_with_the_reason() -> None:
    refused = replace(WANT, release=None, problem="it is not listed")
    assert isinstance(decide(active(OLD, True), refused, NOW), steps.NoteWish)
    late = decide(replace(active(OLD, True), wish_age_s=1e6), refused, NOW)
    assert isinstance(late, steps.Fail) and late.failure.stage == "deadline"
    assert "it is not listed" in late.failure.reason


def test_a_hold_ends_with_its_time_or_as_soon_as_space_was_freed() -> None:
    full = Hold("no space", NOW + 60, full=True).after(5000, NOW)
    assert full is not None and full.after(5000 + FREED_BYTES - 1, NOW) == full
    fuller = full.after(1000, NOW)
    assert fuller is not None and fuller.after(1000 + FREED_BYTES, NOW) is None
    assert full.after(5000, NOW + 60) is None
    broken = Hold("the disk failed", NOW + 60)
    assert broken.after(10**9, NOW) == broken


def test_fetching_says_which_chunks_are_in_trouble_and_only_while_they_are_missing() -> None:
    troubles = {CHUNKS[0].sha256: "chunk a was refused", CHUNKS[1].sha256: "chunk b does not come"}
    both = decide(replace(CHOSEN, missing=CHUNKS, troubles=troubles), WANT, NOW)
    assert isinstance(both, steps.Fetch) and both.why.endswith("; chunk a was refused; and 1 more like it")
    none = decide(replace(CHOSEN, missing=CHUNKS[2:], troubles=troubles), WANT, NOW)
    assert isinstance(none, steps.Fetch) and none.why.endswith("chunks are here")


def test_a_new_telemetry_interval_chooses_nothing_anew_and_a_new_objective_does() -> None:
    def key(**policy: Any) -> str:
        return choice_key(NOTED, replace(WANT, policy=Policy(**policy)))

    assert key(telemetry_interval_s=5) == key(telemetry_interval_s=50)
    assert key(objective="latency") != key(objective="memory")
