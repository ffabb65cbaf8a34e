"""What holds of `decide` whatever is seen: laws over random facts, and the cases in which each was once broken."""

import math
from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefleet_agent import steps
from edgefleet_agent.conditions import Surroundings
from edgefleet_agent.decide import decide
from edgefleet_agent.rules.seen import Desired, Lease, Observed, ProbationSeen, Strain, WorkerSeen
from edgefleet_agent.rules.wish import choice_key
from edgefleet_agent.serve.providers import CPU, TENSORRT
from edgefleet_agent.slots import slot_name
from edgefleet_agent.store.facts import ChoiceFact, ModelFacts, TrialFact
from edgefleet_protocol.hardware import RuntimeInfo
from edgefleet_protocol.rollout import Governor, OpenHours, Policy
from edgefleet_protocol.telemetry import DeviceWindow
from tests.agent.test_decide import EMPTY, NEW, OLD, WANT, slot_of
from tests.fakes.device import Package, package
from tests.fakes.probe import PI4

NOW = 1000.0
MINE = slot_name(NEW.sha256, "small")
CHUNKS = tuple(chunk for entry in NEW.release.files for chunk in entry.chunks)

policies = st.builds(
    Policy,
    latency_budget_s=st.sampled_from([None, 0.05]),
    max_temperature_c=st.sampled_from([None, 60.0]),
    battery_floor_percent=st.sampled_from([None, 50.0]),
    windows=st.sampled_from([(), (OpenHours(start="02:00", end="04:00", days=()),)]),
    governor=st.sampled_from([None, Governor(max_temperature_c=70.0, prefetch=True)]),
    quarantine_after=st.sampled_from([1, 3]),
)
workers = st.one_of(
    st.none(),
    st.builds(
        WorkerSeen,
        slot=st.sampled_from([MINE, slot_name(OLD.sha256, "small")]),
        state=st.sampled_from(["starting", "ready", "dead"]),
        accepting=st.booleans(),
        age_s=st.sampled_from([0.0, 500.0]),
    ),
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Observed, Desired]:
    """Return anything that could be seen and wished."""
    want = replace(WANT, policy=draw(policies))
    noted = replace(EMPTY, wish_age_s=draw(st.sampled_from([None, 1.0, 1e9])))
    choice = ChoiceFact(key=choice_key(noted, want), release_sha256=NEW.sha256, variant="small", why="")
    trial = TrialFact(
        slot=MINE, passed=draw(st.booleans()), begun=draw(st.integers(0, 3)), board=draw(st.sampled_from(["", "old"]))
    )
    active = draw(st.sampled_from([None, slot_of(OLD), slot_of(OLD, False), slot_of(NEW), slot_of(NEW, False)]))
    facts = ModelFacts(
        choice=draw(st.sampled_from([None, choice])),
        trials=draw(st.sampled_from([(), (trial,)])),
        active=active,
        previous=draw(st.sampled_from([None, slot_of(OLD)])) if active != slot_of(OLD) else None,
        crashes=draw(st.integers(0, 9)),
        strikes=draw(st.integers(0, 3)),
    )
    server = draw(workers) if active is not None else None
    seen = replace(
        noted,
        facts=facts,
        around=Surroundings(
            DeviceWindow(temperature_c=draw(st.sampled_from([None, 40.0, 65.0, 90.0]))),
            draw(st.sampled_from([0, 10**9])),
            draw(st.sampled_from([None, 10**7, 10**9])),
            1000,
        ),
        missing=draw(st.sampled_from([(), CHUNKS])),
        slots=frozenset(draw(st.sets(st.sampled_from([MINE, slot_name(OLD.sha256, "small")])))),
        trial=draw(st.sampled_from(["none", "running"])),
        server=server,
        candidate=draw(
            st.one_of(st.none(), st.builds(WorkerSeen, st.just(MINE), st.sampled_from(["starting", "ready"])))
        ),
        probation=ProbationSeen(5.0) if server is not None and server.accepting else None,
        aside=active is not None and server is None and draw(st.booleans()),
        making_room=draw(st.booleans()),
        board="new",
        held=draw(st.sampled_from([None, "held by ann"])),
        leases=draw(st.sampled_from([(), (Lease(1, "camera", NOW + 30),)])),
        may_try=draw(st.booleans()),
        strain=draw(st.sampled_from([Strain(), Strain("it is hotter", since=0.0)])),
        aim=draw(st.sampled_from([None, "small"])),
    )
    return seen, want


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_whatever_is_seen_there_is_one_step_with_words_and_what_serves_is_not_ended_for_nothing(
    world: tuple[Observed, Desired],
) -> None:
    seen, want = world
    step = decide(seen, want, NOW)

    assert step.why if not isinstance(step, steps.Fail) else step.failure.reason
    if isinstance(step, steps.Wait):
        assert step.until is None or math.isfinite(step.until)
    if isinstance(step, steps.StandAside):
        assert seen.aim is None, "what is tried ahead never ends what serves"
        assert not seen.leases and seen.held is None
        assert step.variant.name == "small" and MINE in seen.slots, "what it makes room for is here"
    if isinstance(step, steps.Try):
        assert seen.may_try, "one trial at a time"
    if isinstance(step, steps.Load | steps.Try | steps.Activate | steps.Fetch):
        assert seen.held is None, "the owner's word is above every rollout's"
    if isinstance(step, steps.Try | steps.Load):
        hot = seen.around.device.temperature_c
        limit = want.policy.max_temperature_c
        under_way = seen.candidate is not None or seen.aside
        assert under_way or hot is None or limit is None or hot <= limit


@settings(max_examples=400, deadline=None)
@given(worlds())
def test_what_made_room_waits_only_for_a_move_that_is_under_way(world: tuple[Observed, Desired]) -> None:
    seen, want = world
    step = decide(replace(seen, server=None, aside=seen.facts.active is not None), want, NOW)
    if seen.facts.active is None or not isinstance(step, steps.Wait):
        return
    assert (
        seen.trial == "running" or seen.making_room or seen.candidate is not None or seen.facts.active.slot == MINE
    ), step.why


ASIDE = replace(
    EMPTY,
    wish_age_s=10.0,
    aside=True,
    slots=frozenset({MINE}),
    board="new",
    facts=ModelFacts(
        choice=ChoiceFact(
            key=choice_key(replace(EMPTY, wish_age_s=10.0), WANT), release_sha256=NEW.sha256, variant="small", why=""
        ),
        active=slot_of(OLD),
    ),
)


def test_what_made_room_comes_back_when_the_trial_must_wait_for_another_models() -> None:
    assert isinstance(decide(replace(ASIDE, may_try=False), WANT, NOW), steps.ComeBack)
    assert isinstance(decide(ASIDE, WANT, NOW), steps.Try)


def test_nothing_makes_room_for_a_trial_whose_turn_it_is_not() -> None:
    serving = replace(
        ASIDE,
        aside=False,
        may_try=False,
        hardware=PI4,
        server=WorkerSeen(slot_of(OLD).slot, "ready", True),
        probation=ProbationSeen(5.0, memory_bytes=10**9),
        around=Surroundings(DeviceWindow(), 10**9, 10**7, 1000),
    )
    big = package(2)
    first = msgspec.structs.replace(
        NEW.release.variants[0], requires=msgspec.structs.replace(big.release.variants[0].requires, memory_bytes=10**8)
    )
    want = replace(WANT, release=msgspec.structs.replace(NEW.release, variants=(first,)))
    assert isinstance(decide(replace(serving, may_try=True), want, NOW), steps.StandAside)
    assert isinstance(decide(serving, want, NOW), steps.Wait)


# --- another provider on a tight board

ORIN_LIKE = msgspec.structs.replace(
    PI4, accelerator="sm_87", runtimes=(RuntimeInfo(name="fake", version="1", providers=(TENSORRT, CPU)),)
)


def of_memory(release: Package, memory_bytes: int) -> Desired:
    """Return the wish for a release whose variant needs so much memory."""
    variant = release.release.variants[0]
    needs = msgspec.structs.replace(variant.requires, memory_bytes=memory_bytes)
    variants = (msgspec.structs.replace(variant, requires=needs),)
    return replace(WANT, release=msgspec.structs.replace(release.release, variants=variants))


def tight(seen: Observed, want: Desired, free_bytes: int) -> Observed:
    """Return it on a board of 4 GB with so much memory free, where the worker that serves has 1 GB."""
    there = replace(seen, hardware=ORIN_LIKE)
    assert seen.facts.choice is not None
    choice = msgspec.structs.replace(seen.facts.choice, key=choice_key(there, want))
    return replace(
        there,
        facts=msgspec.structs.replace(seen.facts, choice=choice),
        aside=False,
        server=WorkerSeen(seen.facts.active.slot, "ready", True) if seen.facts.active else None,
        probation=ProbationSeen(5.0, memory_bytes=10**9),
        around=Surroundings(DeviceWindow(), 10**10, free_bytes, 1000),
        provider=TENSORRT,
        served_on=CPU,
    )


def test_a_faster_provider_on_a_tight_board_is_tried_only_beside_the_worker_that_serves() -> None:
    """Once it ended the worker for a trial of the very variant that served, and nothing served meanwhile."""
    on_cpu = TrialFact(slot=MINE, passed=True, begun=1, board="old", provider=CPU)
    serving = replace(ASIDE, facts=replace_facts(ASIDE.facts, active=slot_of(NEW), trials=(on_cpu,)))
    want = of_memory(NEW, 10**8)
    for free_bytes in (10**7, 2 * 10**8):
        step = decide(tight(serving, want, free_bytes), want, NOW)
        assert isinstance(step, steps.Wait) and "only beside the worker that serves" in step.why, step
    assert isinstance(decide(tight(serving, want, 10**9), want, NOW), steps.Try)


def test_an_engine_that_must_be_built_never_makes_what_serves_stand_aside() -> None:
    want = of_memory(NEW, 10**8)
    step = decide(tight(ASIDE, want, 10**7), want, NOW)
    assert isinstance(step, steps.Wait) and "built only beside the worker that serves" in step.why, step
    without = replace(tight(ASIDE, want, 10**7), provider=CPU)
    assert isinstance(decide(without, want, NOW), steps.StandAside), "what is not built takes seconds"
    built = TrialFact(slot=MINE, passed=True, begun=1, board="new", provider=TENSORRT)
    there = replace(ASIDE, facts=replace_facts(ASIDE.facts, trials=(built,)))
    assert isinstance(decide(tight(there, want, 10**7), want, NOW), steps.StandAside), "nor what was built before"


def replace_facts(facts: ModelFacts, **changes: object) -> ModelFacts:
    return msgspec.structs.replace(facts, **changes)  # type: ignore[arg-type]
