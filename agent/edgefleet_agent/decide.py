"""What to do next for one model. Pure: reads neither clock, disk nor network.

`decide` goes through small rules in one visible order; the first that has an answer gives the step. The order of the
lines is the policy.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Chunk, Release, Variant
from edgefleet_protocol.messages import Failure
from edgefleet_protocol.rollout import Assignment, Policy, Probation

from .conditions import LOOK_AGAIN_S, Surroundings, not_now, too_little_disk, too_little_memory
from .seams import TrialReport
from .slots import slot_name
from .steps import (
    Accept,
    Activate,
    Assemble,
    Choose,
    CountCrash,
    Fail,
    FallBack,
    Fetch,
    Load,
    NoteTrial,
    NoteWish,
    Prove,
    Restore,
    Serve,
    Step,
    Try,
    Wait,
)
from .store.facts import ModelFacts, Slot

Stage = Literal["choose", "fetch", "verify", "trial", "switch", "probation", "deadline"]
FINAL_STAGES = ("choose", "switch", "probation", "deadline")
"""A failure at one of these is the whole release's: it failed for real requests, or nothing of it is left to try.
A variant that fails in `fetch`, `verify` or `trial` hurt nobody, so the next one is tried."""
CRASHES_ALLOWED = 3
"""Deaths of a worker on probation that end it."""
TRIALS_BEGUN_ALLOWED = 3
"""Trials that took the agent or the device down with them."""
BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Before a dead worker is started again."""


@dataclass(frozen=True)
class WorkerSeen:
    """A worker process."""

    slot: str
    state: Literal["starting", "ready", "dead"]
    accepting: bool = False
    why_dead: str = ""


@dataclass(frozen=True)
class ProbationSeen:
    """How the active model behaved since it took over in this run of the agent."""

    elapsed_s: float
    requests: int = 0
    errors: int = 0
    latency_p95_s: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Desired:
    """What the region wishes of one model on this device."""

    model: str
    policy: Policy
    assignment: Assignment | None = None
    why: str = ""
    """Why there is no assignment, or why no earlier one."""
    release: Release | None = None
    problem: str | None = None
    """Why the wished release must not or cannot be obeyed."""

    @property
    def sha256(self) -> str | None:
        """Digest of the wished release."""
        return self.assignment.release.sha256 if self.assignment else None


@dataclass(frozen=True)
class Observed:
    """One model, as it is on this device."""

    model: str
    facts: ModelFacts
    hardware: Hardware
    agent_version: str
    around: Surroundings
    now_s: float
    """By the wall's clock; for marks only."""
    wish_age_s: float | None = None
    """Since the wished release was first seen; None when it was not noted yet."""
    missing: tuple[Chunk, ...] = ()
    """Of the chosen variant."""
    slots: frozenset[str] = frozenset()
    trial: Literal["none", "running"] | TrialReport = "none"
    server: WorkerSeen | None = None
    candidate: WorkerSeen | None = None
    start_not_before: float = 0.0
    crashes_in_a_row: int = 0
    probation: ProbationSeen | None = None
    hold: tuple[str, float] | None = None
    """A reason to begin nothing before a time, after a full disk."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by variant, of those of the wished release that failed here."""


def decide(seen: Observed, want: Desired, now: float) -> Step:
    """Return the one next step from what is seen towards what is wanted. now: monotonic seconds."""
    rules: tuple[Callable[[Observed, Desired, float], Step | None], ...] = (
        keep_serving,
        judge_probation,
        nothing_wished,
        must_not_obey,
        note_new_wish,
        release_failed_here,
        deadline_passed,
        not_chosen_yet,
        none_fits,
        already_running,
        read_trial,
        held_back,
        fetch,
        assemble,
        try_out,
        load,
    )
    for rule in rules:
        step = rule(seen, want, now)
        if step is not None:
            return step
    return activate(seen, want, now)


def keep_serving(seen: Observed, want: Desired, now: float) -> Step | None:
    """Before all else, what was active serves: at start without network, and after each death of its worker."""
    active, server = seen.facts.active, seen.server
    if active is None:
        return None
    if server is not None and server.slot == active.slot and server.state == "dead":
        pause = BACK_OFF_S[min(seen.crashes_in_a_row, len(BACK_OFF_S) - 1)]
        return CountCrash(active, pause, f"the worker of {active.release} died: {server.why_dead}")
    if server is None or server.slot != active.slot:
        if active.slot not in seen.slots or (seen.crashes_in_a_row and seen.crashes_in_a_row % CRASHES_ALLOWED == 0):
            return Restore(active, f"{active.release} cannot be served from its files: looking at them")
        if now < seen.start_not_before:
            return None  # it must not keep a better release from coming
        return Serve(active, f"{active.release} ({active.variant}) is active: starting its worker")
    if server.state == "ready" and not server.accepting:
        return Accept(active, f"{active.release} ({active.variant}) has loaded")
    if server.state == "starting":
        return Wait(f"{active.release} ({active.variant}) is loading", until=now + 0.1)
    return None


def judge_probation(seen: Observed, want: Desired, now: float) -> Step | None:
    """An active model that is not proven goes back when it misbehaves, and is proven when its time is over."""
    active = seen.facts.active
    if active is None or active.proven or _is_final(seen.facts, active.release_sha256):
        return None
    broken = probation_broken(seen, want, active)
    if broken is not None:
        failure = _failure(seen, active.release, active.release_sha256, active.variant, "probation", broken)
        return FallBack(failure, seen.facts.previous, broken)
    rules = _probation_of(want, active)
    if rules is None or seen.probation is None:
        return None
    if seen.probation.elapsed_s >= rules.seconds:
        return Prove(active, f"{active.release} behaved for {rules.seconds:g} s")
    # Past its deadline it is not waited for: an agent that is started again and again never ends a probation.
    if want.sha256 in (None, active.release_sha256) and not _is_late(seen, want):
        left = rules.seconds - seen.probation.elapsed_s
        return Wait(f"{active.release} ({active.variant}) is on probation", until=now + min(left, 5.0))
    return None


def probation_broken(seen: Observed, want: Desired, active: Slot) -> str | None:
    """Return what is out of budget, measured against allowed, or None."""
    if seen.facts.crashes >= CRASHES_ALLOWED:
        return f"its worker died {seen.facts.crashes} times on probation, and {CRASHES_ALLOWED} end it"
    rules, live, policy = _probation_of(want, active), seen.probation, want.policy
    if rules is None or live is None:
        return None
    if live.requests and live.requests >= rules.min_requests:
        percent = 100.0 * live.errors / live.requests
        if percent > rules.max_error_percent:
            return f"{percent:.1f} % of {live.requests} requests failed and {rules.max_error_percent:g} % are allowed"
        budget, p95 = policy.latency_budget_s, live.latency_p95_s
        if budget is not None and p95 is not None and p95 > budget:
            return f"p95 of {live.requests} requests is {p95 * 1e3:.1f} ms and {budget * 1e3:.1f} ms are allowed"
    allowed, memory = policy.memory_budget_bytes, live.memory_bytes
    if allowed is not None and memory is not None and memory > allowed:
        return f"its worker has {memory / 1e6:.0f} MB of memory and {allowed / 1e6:.0f} MB are allowed"
    return None


def nothing_wished(seen: Observed, want: Desired, now: float) -> Step | None:
    """Without a wish, what runs goes on."""
    if want.assignment is not None:
        return None
    active = seen.facts.active
    serving = f"; {active.release} keeps serving" if active else ""
    return Wait(f"nothing is wished of {seen.model}: {want.why}{serving}")


def must_not_obey(seen: Observed, want: Desired, now: float) -> Step | None:
    """A release that is not listed, or that this agent cannot read."""
    if want.problem is not None or want.release is None:
        return Wait(want.problem or "the manifest of the wished release has not come yet")
    return None


def note_new_wish(seen: Observed, want: Desired, now: float) -> Step | None:
    """The deadline of a release runs from when it was first seen."""
    if seen.wish_age_s is None and want.assignment is not None:
        return NoteWish(want.assignment, f"{_name(want)} is wished")
    return None


def release_failed_here(seen: Observed, want: Desired, now: float) -> Step | None:
    """What failed is not tried again."""
    for failure in seen.facts.failures:
        if failure.release_sha256 == want.sha256 and failure.stage in FINAL_STAGES:
            return Wait(f"{failure.release} failed here ({failure.stage}): {failure.reason}")
    return None


def deadline_passed(seen: Observed, want: Desired, now: float) -> Step | None:
    """Whatever is not proven in time counts as failed."""
    active, assignment = seen.facts.active, want.assignment
    if assignment is None or not _is_late(seen, want):
        return None
    running = active is not None and active.release_sha256 == want.sha256
    if active is not None and running and active.proven:
        return None
    reason = f"not proven within {assignment.deadline_s:g} s"
    variant = active.variant if active is not None and running else _chosen_name(seen, want)
    failure = _failure(seen, _name(want), assignment.release.sha256, variant, "deadline", reason)
    return FallBack(failure, seen.facts.previous, reason) if running else Fail(failure, reason)


def not_chosen_yet(seen: Observed, want: Desired, now: float) -> Step | None:
    """One choice for a wish, this hardware and this agent; a variant that failed makes a new one."""
    assert want.release is not None and want.sha256 is not None
    key = choice_key(seen, want)
    if seen.facts.choice is not None and seen.facts.choice.key == key:
        return None
    return Choose(want.release, want.sha256, want.policy, key, f"choosing a variant of {_name(want)}")


def none_fits(seen: Observed, want: Desired, now: float) -> Step | None:
    """No variant is left: the release failed here, unless it runs already and only the rules became narrower."""
    choice, active = seen.facts.choice, seen.facts.active
    if choice is None or choice.variant is not None or want.sha256 is None:
        return None
    if active is not None and active.release_sha256 == want.sha256:
        return Wait(f"{active.release} ({active.variant}) keeps running, though none fits now: {choice.why}")
    reason = f"no variant fits: {choice.why}"[:2000]
    assert want.release is not None
    first = want.release.variants[0].name
    return Fail(_failure(seen, _name(want), want.sha256, first, "choose", reason), reason)


def already_running(seen: Observed, want: Desired, now: float) -> Step | None:
    """It runs, and is proven."""
    active = seen.facts.active
    variant = _chosen(seen, want)
    if active is None or active.release_sha256 != want.sha256 or active.variant != variant.name:
        return None
    if seen.server is None or seen.server.state != "ready":
        return Wait(f"{active.release} ({active.variant}) is started again", until=seen.start_not_before)
    return Wait(f"{active.release} ({active.variant}) runs" + (" and is proven" if active.proven else ""))


def read_trial(seen: Observed, want: Desired, now: float) -> Step | None:
    """A trial that runs is waited for; one that ended is noted."""
    if seen.trial == "none":
        return None
    assert want.release is not None and want.sha256 is not None
    variant = _chosen(seen, want)
    if seen.trial == "running":
        return Wait(f"trying {_name(want)} ({variant.name}) before it serves", until=now + 0.2)
    return NoteTrial(want.release, want.sha256, variant, f"the trial of {_name(want)} ({variant.name}) is over")


def held_back(seen: Observed, want: Desired, now: float) -> Step | None:
    """Battery, heat, and the pause after a full disk. They hold back what is new, never what serves."""
    if seen.hold is not None and now < seen.hold[1]:
        return Wait(seen.hold[0], until=seen.hold[1])
    if seen.candidate is not None:
        return None  # a switch that has begun is brought to its end
    reason = not_now(seen.around, want.policy)
    return Wait(reason, until=now + LOOK_AGAIN_S) if reason else None


def fetch(seen: Observed, want: Desired, now: float) -> Step | None:
    """Ask for the chunks that are missing, when there is room for them and for the files made of them."""
    assert want.release is not None and want.sha256 is not None
    variant = _chosen(seen, want)
    if not seen.missing or slot_name(want.sha256, variant.name) in seen.slots:
        return None
    need = sum(chunk.bytes for chunk in seen.missing) + _slot_bytes(want.release, variant)
    if reason := too_little_disk(seen.around, need):
        return Wait(reason, until=now + LOOK_AGAIN_S)
    every = {chunk.sha256 for entry in want.release.files_for(variant) for chunk in entry.chunks}
    why = f"fetching {_name(want)} ({variant.name}): {len(every) - len(seen.missing)} of {len(every)} chunks are here"
    return Fetch(_name(want), seen.missing, why)


def assemble(seen: Observed, want: Desired, now: float) -> Step | None:
    """Files from chunks, verified whole."""
    assert want.release is not None and want.sha256 is not None
    variant = _chosen(seen, want)
    if slot_name(want.sha256, variant.name) in seen.slots:
        return None
    if reason := too_little_disk(seen.around, _slot_bytes(want.release, variant)):
        return Wait(reason, until=now + LOOK_AGAIN_S)
    return Assemble(want.release, want.sha256, variant, f"putting {_name(want)} ({variant.name}) together")


def try_out(seen: Observed, want: Desired, now: float) -> Step | None:
    """Nothing serves that was not tried on this device."""
    assert want.release is not None and want.sha256 is not None
    variant = _chosen(seen, want)
    known = seen.facts.trial(slot_name(want.sha256, variant.name))
    if known is not None and known.passed:
        return None
    if known is not None and known.begun >= TRIALS_BEGUN_ALLOWED:
        reason = f"{known.begun} trials ended with the agent or the device going down"
        return Fail(_failure(seen, _name(want), want.sha256, variant.name, "trial", reason), reason)
    if tight := too_little_memory(seen.around, variant.requires.memory_bytes):
        return Wait(tight, until=now + LOOK_AGAIN_S)
    return Try(want.release, want.sha256, variant, f"trying {_name(want)} ({variant.name}) before it serves")


def load(seen: Observed, want: Desired, now: float) -> Step | None:
    """The candidate loads beside the one that serves."""
    assert want.release is not None and want.sha256 is not None
    variant = _chosen(seen, want)
    candidate = seen.candidate
    if candidate is None or candidate.slot != slot_name(want.sha256, variant.name):
        return Load(want.release, want.sha256, variant, f"loading {_name(want)} ({variant.name}) for the switch")
    if candidate.state == "dead":
        reason = f"its worker died while loading: {candidate.why_dead}"[:2000]
        return Fail(_failure(seen, _name(want), want.sha256, variant.name, "switch", reason), reason)
    if candidate.state == "starting":
        return Wait(f"loading {_name(want)} ({variant.name}) for the switch", until=now + 0.1)
    return None


def activate(seen: Observed, want: Desired, now: float) -> Step:
    """All is ready: switch."""
    assert want.release is not None and want.sha256 is not None
    variant = _chosen(seen, want)
    return Activate(want.release, want.sha256, variant, f"switching to {_name(want)} ({variant.name})")


def choice_key(seen: Observed, want: Desired) -> str:
    """Return the name of everything that a choice depends on.

    Of the policy only what choosing reads, so that a new telemetry interval does not choose anew.
    """
    policy = want.policy
    narrow = Policy(
        objective=policy.objective,
        latency_budget_s=policy.latency_budget_s,
        memory_budget_bytes=policy.memory_budget_bytes,
        download_budget_bytes=policy.download_budget_bytes,
        min_accuracy=policy.min_accuracy,
    )
    parts = (want.sha256, narrow, seen.hardware, seen.agent_version, sorted(seen.failed))
    return sha256_hex(msgspec.json.encode(parts, order="deterministic"))[:32]


def failed_variants(facts: ModelFacts, release_sha256: str | None) -> dict[str, str]:
    """Return the reason by variant, of those of one release that failed here."""
    rows = [row for row in facts.failures if row.release_sha256 == release_sha256 and row.stage != "choose"]
    return {row.variant: f"{row.stage}: {row.reason}" for row in rows}


def _is_late(seen: Observed, want: Desired) -> bool:
    return want.assignment is not None and (seen.wish_age_s or 0.0) > want.assignment.deadline_s


def _is_final(facts: ModelFacts, release_sha256: str) -> bool:
    return any(row.release_sha256 == release_sha256 and row.stage in FINAL_STAGES for row in facts.failures)


def _probation_of(want: Desired, active: Slot) -> Probation | None:
    """The wish's probation while the active release is the wished one; else only what protects the device holds."""
    if want.assignment is not None and want.assignment.release.sha256 == active.release_sha256:
        return want.assignment.probation
    return None


def _chosen(seen: Observed, want: Desired) -> Variant:
    """The chosen variant. The rules before made sure that there is one."""
    assert want.release is not None and seen.facts.choice is not None and seen.facts.choice.variant is not None
    variant = want.release.variant(seen.facts.choice.variant)
    assert variant is not None
    return variant


def _chosen_name(seen: Observed, want: Desired) -> str:
    choice = seen.facts.choice
    if choice is not None and choice.release_sha256 == want.sha256 and choice.variant is not None:
        return choice.variant
    return want.release.variants[0].name if want.release else "none"


def _slot_bytes(release: Release, variant: Variant) -> int:
    return sum(entry.bytes for entry in release.files_for(variant))


def _name(want: Desired) -> str:
    return want.release.name if want.release else (want.assignment.release.path if want.assignment else want.model)


def _failure(seen: Observed, release: str, sha256: str, variant: str, stage: Stage, reason: str) -> Failure:
    return Failure(
        release=release, release_sha256=sha256, variant=variant, stage=stage, reason=reason[:2000], at_s=seen.now_s
    )
