"""What is wished, and which variant of it: the rules before anything is moved."""

import msgspec

from edgefleet_protocol.codec import sha256_hex
from edgefleet_protocol.rollout import Policy

from ..steps import Choose, Fail, FallBack, NoteWish, Step, Wait
from .seen import (
    Desired,
    Observed,
    back_to,
    chosen_name,
    failure_of,
    final_failure,
    is_late,
    to_serve,
    wished_name,
)


def nothing_wished(seen: Observed, want: Desired, now: float) -> Step | None:
    """Without a wish, what runs goes on."""
    if want.assignment is not None:
        return None
    active = seen.facts.active
    serving = f"; {active.release} keeps serving" if active else ""
    return Wait(f"nothing is wished of {seen.model}: {want.why}{serving}")


def must_not_obey(seen: Observed, want: Desired, now: float) -> Step | None:
    """A release that is not listed, or that this agent cannot read. It waits no longer than its deadline."""
    if want.problem is not None or want.release is None:
        return Wait(want.problem or "the manifest of the wished release has not come yet")
    return None


def note_new_wish(seen: Observed, want: Desired, now: float) -> Step | None:
    """The deadline of a release runs from when it was first seen."""
    if seen.wish_age_s is None and want.assignment is not None:
        return NoteWish(want.assignment, f"{wished_name(want)} is wished")
    return None


def release_failed_here(seen: Observed, want: Desired, now: float) -> Step | None:
    """What failed is not tried again."""
    failure = final_failure(seen.facts, want.sha256)
    return Wait(f"{failure.release} failed here ({failure.stage}): {failure.reason}") if failure else None


def deadline_passed(seen: Observed, want: Desired, now: float) -> Step | None:
    """Whatever is not proven in time counts as failed."""
    active, assignment = seen.facts.active, want.assignment
    if assignment is None or not is_late(seen, want):
        return None
    running = active is not None and active.release_sha256 == want.sha256
    if running and seen.facts.was_proven(assignment.release.sha256):
        return None
    reason = f"not proven within {assignment.deadline_s:g} s" + (f": {want.problem}" if want.problem else "")
    variant = active.variant if active is not None and running else chosen_name(seen, want)
    failure = failure_of(seen, wished_name(want), assignment.release.sha256, variant, "deadline", reason)
    return FallBack(failure, back_to(seen.facts), reason) if running else Fail(failure, reason)


def not_chosen_yet(seen: Observed, want: Desired, now: float) -> Step | None:
    """One choice for a wish, this hardware and this agent; a variant that failed makes a new one."""
    assert want.release is not None and want.sha256 is not None
    key = choice_key(seen, want)
    if seen.facts.choice is not None and seen.facts.choice.key == key:
        return None
    return Choose(want.release, want.sha256, want.policy, key, f"choosing a variant of {wished_name(want)}")


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
    return Fail(failure_of(seen, wished_name(want), want.sha256, first, "choose", reason), reason)


def already_running(seen: Observed, want: Desired, now: float) -> Step | None:
    """It runs, and is proven."""
    active = seen.facts.active
    if active is None or active.release_sha256 != want.sha256 or active.variant != to_serve(seen.facts, want.sha256):
        return None
    if seen.aim is not None and seen.server is not None and seen.server.state == "ready":
        return None  # it runs, and another variant is fetched and tried ahead
    if seen.server is None or seen.server.state != "ready":
        return Wait(f"{active.release} ({active.variant}) is started again", until=seen.start_not_before)
    pinned = f"; {want.pinned}" if want.pinned else ""
    return Wait(f"{active.release} ({active.variant}) runs" + (" and is proven" if active.proven else "") + pinned)


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
    parts = (want.sha256, narrow, seen.hardware, seen.agent_version, sorted(seen.failed), want.recovered)
    return sha256_hex(msgspec.json.encode(parts, order="deterministic"))[:32]
