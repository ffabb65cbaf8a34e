"""Is the worker that serves well? One that hangs is ended; one that leaks is replaced before the kernel ends it."""

from ..steps import EndWorker, NoteRuntime, Replace, Step
from ..store.facts import Slot
from .room import room
from .seen import Desired, HealthSeen, Observed

ASKS_UNANSWERED = 3
"""So many questions, one every few seconds, a worker may leave without an answer."""
LEAST_HANG_S = 15.0
"""No inference counts as hanging before this, however fast it was measured: a device may be busy or swapping."""
TIMES_P95 = 50.0
"""An inference may take so many times the p95 of its trial on this very device."""
OVER_BOUND_READS = 3
"""Readings in a row above the signed bound, before a worker is replaced: one may be a burst."""
REPLACE_EVERY_S = 600.0
"""A worker that is over its bound again so soon has a bound that is too small: replacing it again would help nobody."""
LOAD_TIMES, LOAD_EXTRA_S = 2.0, 30.0
"""A worker that has not loaded by so many times the signed time, and so much more, never will."""


def runtime_broken(seen: Observed, want: Desired, now: float) -> Step | None:
    """When the runtime cannot be imported, no variant is at fault: nothing is counted, and all is tried again later."""
    server, active, candidate = seen.server, seen.facts.active, seen.candidate
    if server is not None and server.blame == "runtime" and server.state == "dead":
        return NoteRuntime(active, server.why_dead)
    if candidate is not None and candidate.blame == "runtime" and candidate.state == "dead":
        return NoteRuntime(None, candidate.why_dead)
    if not isinstance(seen.trial, str) and seen.trial.blame == "runtime":
        return NoteRuntime(None, seen.trial.reason)
    return None


def end_hung(seen: Observed, want: Desired, now: float) -> Step | None:
    """A worker that hangs serves nobody; its death is counted like any other, and it is started again."""
    server, active, health = seen.server, seen.facts.active, seen.health
    if server is None or active is None or server.slot != active.slot or health is None or server.state == "dead":
        return None
    if server.state == "starting":
        allowed = load_bound_s(health.load_s)
        if server.age_s > allowed:
            return EndWorker(
                active, f"hung: it has been loading for {server.age_s:.0f} s and {allowed:.0f} s are enough"
            )
        return None
    allowed = hang_bound_s(seen, active, health)
    if health.busy_s is not None and health.busy_s > allowed:
        return EndWorker(
            active, f"hung: an inference has been running for {health.busy_s:.0f} s and {allowed:.0f} s are enough"
        )
    if health.silent_asks >= ASKS_UNANSWERED and health.silent_s > allowed:
        return EndWorker(
            active,
            f"hung: it left {health.silent_asks} questions over {health.silent_s:.0f} s without an answer, and one inference "
            f"explains {allowed:.0f} s",
        )
    return None


def replace_leaking(seen: Observed, want: Desired, now: float) -> Step | None:
    """A fresh worker of the same variant takes over while the swollen one can still finish what it has."""
    server, active, health = seen.server, seen.facts.active, seen.health
    if server is None or active is None or health is None or not server.accepting or seen.candidate is not None:
        return None
    found, bound = health.memory_bytes, health.bound_bytes
    if (
        found is None
        or bound is None
        or health.over_bound_reads < OVER_BOUND_READS
        or health.served_s < REPLACE_EVERY_S
    ):
        return None
    place = room(seen.around, seen.hardware.memory_bytes, bound, found)
    why = f"its worker has {found / 1e6:.0f} MB of memory and its release allows {bound / 1e6:.0f} MB: a fresh one takes over"
    return Replace(active, place.how == "beside", why)


def hang_bound_s(seen: Observed, active: Slot, health: HealthSeen) -> float:
    """Return how long one inference may take here: by what its trial measured, else by the signed time to load and answer."""
    fact = seen.facts.trial(active.slot)
    if fact is not None and fact.measured is not None:
        return max(LEAST_HANG_S, TIMES_P95 * fact.measured.latency_p95_s)
    return max(LEAST_HANG_S, health.load_s)


def load_bound_s(load_s: float) -> float:
    """Return how long loading may take, by the signed time."""
    return LOAD_TIMES * load_s + LOAD_EXTRA_S
