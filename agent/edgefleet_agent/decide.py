"""What to do next for one model. Pure: reads neither clock, disk nor network.

`decide` goes through small rules in one visible order; the first that has an answer gives the step. The order of the
lines is the policy. The rules stand in `rules/`: `keep` what serves, `wish` what is wanted, `move` towards it.
"""

from collections.abc import Callable

from .rules.keep import judge_probation, keep_serving
from .rules.move import activate, assemble, disk_refused, fetch, held_back, load, read_trial, try_out
from .rules.seen import Desired, Observed
from .rules.wish import (
    already_running,
    deadline_passed,
    must_not_obey,
    none_fits,
    not_chosen_yet,
    note_new_wish,
    nothing_wished,
    release_failed_here,
)
from .steps import Step


def decide(seen: Observed, want: Desired, now: float) -> Step:
    """Return the one next step from what is seen towards what is wanted. now: monotonic seconds."""
    rules: tuple[Callable[[Observed, Desired, float], Step | None], ...] = (
        keep_serving,
        judge_probation,
        nothing_wished,
        disk_refused,
        note_new_wish,
        release_failed_here,
        deadline_passed,
        must_not_obey,
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
