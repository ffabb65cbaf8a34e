"""What serves goes on serving, and is watched: the first rules."""

from edgefleet_protocol.rollout import Probation

from ..steps import Accept, CountCrash, FallBack, NoteCalm, NoteProbation, Prove, Restore, Serve, Step, Wait
from ..store.facts import Slot
from .seen import Desired, Observed, back_to, failure_of, is_final, is_late

CRASHES_ALLOWED = 3
"""Deaths of a worker on probation that end it."""
CRASHES_OF_PROVEN = 8
"""Deaths in a row that end even a proven one, where another can serve: with the pauses, about five minutes of them."""
CALM_AFTER_S = 60.0
"""A worker that lived so long is no longer in a crash loop."""
NOTE_EVERY_S = 60.0
"""Time on probation is made durable this often, and at least ten times within it: an SD card is written for it."""
BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Before a dead worker is started again."""


def keep_serving(seen: Observed, want: Desired, now: float) -> Step | None:
    """Before all else, what was active serves: at start without network, and after each death of its worker."""
    active, server = seen.facts.active, seen.server
    if active is None or seen.aside:
        return None  # what made room comes back as soon as the candidate fails
    if server is not None and server.slot == active.slot and server.state == "dead":
        pause = BACK_OFF_S[min(seen.crashes_in_a_row, len(BACK_OFF_S) - 1)]
        return CountCrash(active, pause, f"the worker of {active.release} died: {server.why_dead}")
    if server is None or server.slot != active.slot:
        if seen.making_room:
            return Wait("its worker ends first, for want of memory for two", until=now + 0.05)
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
    if active is None or active.proven or is_final(seen.facts, active.release_sha256):
        return None
    broken = probation_broken(seen, want, active)
    if broken is not None:
        failure = failure_of(seen, active.release, active.release_sha256, active.variant, "probation", broken)
        return FallBack(failure, back_to(seen.facts), broken)
    rules = probation_of(want, active)
    if rules is None or seen.probation is None:
        return None
    if seen.probation.elapsed_s >= rules.seconds:
        return Prove(active, f"{active.release} behaved for {rules.seconds:g} s")
    if seen.probation.unnoted_s >= min(NOTE_EVERY_S, max(1.0, rules.seconds / 10)):
        return NoteProbation(seen.probation.unnoted_s, f"{active.release} ({active.variant}) is on probation")
    # Past its deadline it is not waited for: an agent that is started again and again never ends a probation.
    if want.sha256 in (None, active.release_sha256) and not is_late(seen, want):
        left = rules.seconds - seen.probation.elapsed_s
        return Wait(f"{active.release} ({active.variant}) is on probation", until=now + min(left, 5.0))
    return None


def judge_crash_loop(seen: Observed, want: Desired, now: float) -> Step | None:
    """A proven model that dies again and again makes way for the one before; a variant beside it may then be tried."""
    active = seen.facts.active
    if active is None or not active.proven or not seen.facts.crashes:
        return None
    if seen.probation is not None and seen.probation.elapsed_s >= CALM_AFTER_S:
        return NoteCalm(f"the worker of {active.release} lives again")
    is_known = any(
        row.release_sha256 == active.release_sha256 and row.variant == active.variant for row in seen.facts.failures
    )
    if seen.facts.crashes < CRASHES_OF_PROVEN or (is_known and back_to(seen.facts) is None):
        return None
    reason = f"its worker died {seen.facts.crashes} times in a row, and {CRASHES_OF_PROVEN} end even a proven one"
    failure = failure_of(seen, active.release, active.release_sha256, active.variant, "probation", reason)
    return FallBack(failure, back_to(seen.facts), reason)


def probation_broken(seen: Observed, want: Desired, active: Slot) -> str | None:
    """Return what is out of budget, measured against allowed, or None."""
    if seen.facts.crashes >= CRASHES_ALLOWED:
        return f"its worker died {seen.facts.crashes} times on probation, and {CRASHES_ALLOWED} end it"
    rules, live, policy = probation_of(want, active), seen.probation, want.policy
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


def probation_of(want: Desired, active: Slot) -> Probation | None:
    """The wish's probation while the active release is the wished one; else only what protects the device holds."""
    if want.assignment is not None and want.assignment.release.sha256 == active.release_sha256:
        return want.assignment.probation
    return None
