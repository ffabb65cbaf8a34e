"""A switch waits for applications that may not be interrupted, and not for ever."""

from ..steps import Step, Wait
from .seen import Desired, Observed, chosen, wished_name

LOOK_AGAIN_S = 1.0


def leased(seen: Observed, want: Desired, now: float) -> Step | None:
    """Asked when all else is ready. A switch that has waited as long as the policy says is made all the same."""
    if not seen.leases or seen.aside:
        return None
    began = now if seen.switch_waits_since is None else seen.switch_waits_since
    deadline = began + want.policy.lease_deadline_s
    if now >= deadline:
        return None
    until = min(deadline, max(row.until for row in seen.leases))
    holders = ", ".join(row.words for row in seen.leases)
    why = (
        f"{wished_name(want)} ({chosen(seen, want).name}) is ready and waits for {holders}, which must not be interrupted "
        f"for at most {want.policy.lease_deadline_s:g} s"
    )
    return Wait(why, until=min(until, now + LOOK_AGAIN_S), ends_s=seen.now_s + until - now, wants="switch")
