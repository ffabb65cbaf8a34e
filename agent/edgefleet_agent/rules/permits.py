"""What lets new things begin: the owner, quarantine, battery and heat, the way out, windows. Never asked about what serves."""

from collections.abc import Iterable

from edgefleet_protocol.rollout import Policy

from ..conditions import LOOK_AGAIN_S, Surroundings, not_now
from ..slots import slot_name
from ..steps import ForgetWish, Step, Wait
from ..store.facts import ModelFacts
from .seen import Desired, Observed, chosen, is_relief, wished_name
from .windows import local_words, opening


def held_by_owner(seen: Observed, want: Desired, now: float) -> Step | None:
    """The owner's word is above every rollout's."""
    if seen.held is None or want.recovered:
        return None
    if seen.wish_age_s is not None:
        return ForgetWish(seen.held)
    wish = f"; {wished_name(want)} is wished and waits" if _is_other(seen, want) else ""
    again_s = LOOK_AGAIN_S
    if seen.hold_ends_s is not None and seen.clock_trusted:
        again_s = min(again_s, max(0.1, seen.hold_ends_s - seen.now_s))
    return Wait(seen.held + wish, until=now + again_s, ends_s=seen.hold_ends_s)


def quarantined(seen: Observed, want: Desired, now: float) -> Step | None:
    """After release upon release hurt requests here, this device is not used to try the next one for a while."""
    known = (seen.facts.active, seen.facts.previous)
    if any(slot is not None and slot.release_sha256 == want.sha256 for slot in known):
        return None
    words, ends_s = quarantine(seen.facts, want.policy, seen.now_s, seen.released_s)
    return Wait(f"{words}; {wished_name(want)} waits", until=now + LOOK_AGAIN_S, ends_s=ends_s) if words else None


def quarantine(
    facts: ModelFacts, policy: Policy, now_s: float, released_s: float = 0.0
) -> tuple[str | None, float | None]:
    """Return in words that a model is in quarantine, and when that ends; (None, None) when it is not.

    A clock that went back does not shorten it. When it is over one more release is taken, and one more strike renews it.
    """
    ends_s = facts.struck_s + policy.quarantine_s
    if facts.strikes < policy.quarantine_after or now_s >= ends_s or released_s >= facts.struck_s:
        return None, None
    words = (
        f"in quarantine for {policy.quarantine_s:g} s: {facts.strikes} releases in a row failed here for real requests"
    )
    return words, ends_s


def held_back(seen: Observed, want: Desired, now: float) -> Step | None:
    """Battery and heat. They hold back what is new, never what serves, nor what relieves them."""
    if seen.candidate is not None or seen.aside or is_relief(seen, want):
        return None  # a switch that has begun is brought to its end
    reason = not_now(seen.around, want.policy)
    return Wait(reason, until=now + LOOK_AGAIN_S) if reason else None


def no_way_to_fetch(seen: Observed, want: Desired, now: float) -> Step | None:
    """Chunks cost money and time of the link; everything else may go on without them."""
    if not seen.missing or _is_assembled(seen, want):
        return None
    if reason := way_out(seen.around, want.policy):
        return Wait(f"{reason}: {wished_name(want)} is not fetched yet", until=now + LOOK_AGAIN_S)
    return _shut(seen, want, now, "is not fetched yet") if want.policy.download == "in-window" else None


def outside_window(seen: Observed, want: Desired, now: float) -> Step | None:
    """Trials and switches keep to the region's windows. Where nothing serves there is nothing that they protect."""
    if seen.candidate is not None or seen.aside:
        return None
    return _shut(seen, want, now, "is here and waits")


def way_out(around: Surroundings, policy: Policy) -> str | None:
    """Return why no chunk may come by the network interface that is the way out now, or None."""
    if policy.interfaces and not is_named(around.interface or "", policy.interfaces):
        allowed = ", ".join(policy.interfaces)
        return f"the way out is {around.interface or 'not known'} and the region allows {allowed}"
    if around.metered and policy.metered == "wait":
        return f"the way out is {around.interface}, which is metered"
    return None


def _shut(seen: Observed, want: Desired, now: float, what: str) -> Wait | None:
    policy, facts = want.policy, seen.facts
    if not policy.windows or facts.active is None or is_relief(seen, want):
        return None
    name = f"{wished_name(want)} ({chosen(seen, want).name})"
    if not seen.clock_trusted:
        why = f"the clock of this device is not set, so the region's windows cannot be told: {name} {what}"
        return Wait(why, until=now + LOOK_AGAIN_S, tell="clock")
    if seen.zone is None:
        why = f"the time zone {policy.timezone} is not known on this system, so the region's windows cannot be told: {name} {what}"
        return Wait(why, until=now + LOOK_AGAIN_S, tell="clock")
    window = opening(policy.windows, seen.zone, seen.now_s)
    if window.is_open:
        return None
    if window.until_s is None:
        return Wait(f"none of the region's windows ever opens: {name} {what}", until=now + LOOK_AGAIN_S)
    why = f"outside the region's windows: {name} {what}; the next opens {local_words(window.until_s, seen.zone)}"
    again = now + min(LOOK_AGAIN_S, max(0.1, window.until_s - seen.now_s))
    return Wait(why, until=again, ends_s=window.until_s)


def is_named(interface: str, patterns: Iterable[str]) -> bool:
    """Return whether one of `patterns` is the interface's name, or the beginning of it before a `*`."""
    return any(interface.startswith(row[:-1]) if row.endswith("*") else interface == row for row in patterns)


def _is_assembled(seen: Observed, want: Desired) -> bool:
    return want.sha256 is not None and slot_name(want.sha256, chosen(seen, want).name) in seen.slots


def _is_other(seen: Observed, want: Desired) -> bool:
    active = seen.facts.active
    return want.sha256 is not None and (active is None or active.release_sha256 != want.sha256)
