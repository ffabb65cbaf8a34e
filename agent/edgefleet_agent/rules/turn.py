"""Steps that others must agree to: a trial waits for other models', and what ends a worker for applications."""

from ..steps import StandAside, Step, Try
from .leased import leased
from .move import make_room, try_out
from .seen import Desired, Observed
from .shared import one_at_a_time


def untried(seen: Observed, want: Desired, now: float) -> Step | None:
    """What would be tried now waits for its turn."""
    step = try_out(seen, want, now)
    return (one_at_a_time(seen, want, now) or step) if isinstance(step, Try) else step


def room_made(seen: Observed, want: Desired, now: float) -> Step | None:
    """To make room ends what serves, so applications that may not be interrupted are waited for first."""
    step = make_room(seen, want, now)
    return (leased(seen, want, now) or step) if isinstance(step, StandAside) else step
