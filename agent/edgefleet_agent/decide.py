"""What to do next for one model. Pure: reads neither clock, disk nor network.

`decide` goes through small rules in one visible order; the first that has an answer gives the step. The order of the
lines is the policy. The rules stand in `rules/`: `keep` what serves, `wish` what is wanted, `permits` of owner and
region, the `governor`, `move` towards what is wanted, `shared` with other models, `leased` by applications.
"""

from collections.abc import Callable

from .rules.governor import step_governor
from .rules.keep import judge_crash_loop, judge_probation, keep_serving
from .rules.leased import leased
from .rules.move import activate, assemble, disk_refused, fetch, load, read_trial, try_out
from .rules.permits import held_back, held_by_owner, no_way_to_fetch, outside_window, quarantined
from .rules.seen import Desired, Observed
from .rules.shared import one_at_a_time
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
from .steps import Step, Try


def untried(seen: Observed, want: Desired, now: float) -> Step | None:
    """What would be tried now waits for its turn."""
    step = try_out(seen, want, now)
    return (one_at_a_time(seen, want, now) or step) if isinstance(step, Try) else step


def decide(seen: Observed, want: Desired, now: float) -> Step:
    """Return the one next step from what is seen towards what is wanted. now: monotonic seconds."""
    rules: tuple[Callable[[Observed, Desired, float], Step | None], ...] = (
        keep_serving,
        judge_probation,
        judge_crash_loop,
        nothing_wished,
        disk_refused,
        held_by_owner,
        note_new_wish,
        release_failed_here,
        deadline_passed,
        must_not_obey,
        quarantined,
        not_chosen_yet,
        none_fits,
        step_governor,
        already_running,
        read_trial,
        held_back,
        no_way_to_fetch,
        fetch,
        assemble,
        outside_window,
        untried,
        load,
        leased,
    )
    for rule in rules:
        step = rule(seen, want, now)
        if step is not None:
            return step
    return activate(seen, want, now)
