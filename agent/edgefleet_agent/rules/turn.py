"""Steps that others must agree to: a trial waits for other models', and what ends a worker for applications."""

from ..slots import slot_name
from ..steps import ComeBack, Fetch, Replace, StandAside, Step, Try, Wait
from .leased import leased
from .move import make_room, try_out
from .seen import Desired, Observed, chosen
from .shared import one_at_a_time


def untried(seen: Observed, want: Desired, now: float) -> Step | None:
    """What would be tried now waits for its turn."""
    step = try_out(seen, want, now)
    return (one_at_a_time(seen, want, now) or step) if isinstance(step, Try) else step


def room_made(seen: Observed, want: Desired, now: float) -> Step | None:
    """To make room ends what serves: only when the next step can begin, and applications that hold a lease are waited for."""
    step = make_room(seen, want, now)
    if not isinstance(step, StandAside):
        return step
    after = untried(seen, want, now)
    return after if after is not None and not isinstance(after, Try) else leased(seen, want, now) or step


def room_for_itself(seen: Observed, want: Desired, now: float) -> Step | None:
    """As `room_made`, for the variant that serves on another provider: it cannot make room for its own trial and come back."""
    step, active = room_made(seen, want, now), seen.facts.active
    if not isinstance(step, StandAside) or active is None:
        return step
    known = seen.facts.trial(slot_name(step.release_sha256, chosen(seen, want).name))
    if known is not None and known.passed and known.board == seen.board:
        return Replace(active, False, step.why)
    return Wait(f"another provider is tried only beside the worker that serves; {step.why}", until=now + 60.0)


def come_back(seen: Observed, step: Step) -> Step:
    """Return `step`, unless it would keep waiting while the worker that made room serves nobody: then that one comes back."""
    if not seen.aside or seen.facts.active is None or not isinstance(step, Wait | Fetch):
        return step
    return ComeBack(
        f"{seen.facts.active.release} serves again, for what it made room for does not come now: {step.why}"
    )
