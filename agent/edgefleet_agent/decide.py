"""What to do next for one model. Pure: reads neither clock, disk nor network.

`decide` goes through small rules in one visible order; the first that has an answer gives the step. The order of the
lines is the policy. The rules stand in `rules/`: `keep` what serves, `wish` what is wanted, `permits` of owner and
region, the `governor`, `move` towards what is wanted in its `turn`, `shared` with other models, `leased` by applications.
"""

from collections.abc import Callable

from .rules.governor import step_governor
from .rules.health import end_hung, replace_leaking, runtime_broken
from .rules.keep import judge_crash_loop, judge_probation, keep_serving
from .rules.leased import leased
from .rules.move import activate, assemble, cancelled, disk_refused, fetch, load, read_trial, switching
from .rules.permits import held_back, held_by_owner, no_way_to_fetch, outside_window, quarantined
from .rules.provider import better_provider, engine_lost, no_runtime
from .rules.seen import Desired, Observed
from .rules.turn import come_back, room_made, untried
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

UNDER_WAY = (switching, read_trial, room_made, load)
"""Rules whose waits are part of a move for which the active worker made room."""


def decide(seen: Observed, want: Desired, now: float) -> Step:
    """Return the one next step from what is seen towards what is wanted. now: monotonic seconds."""
    rules: tuple[Callable[[Observed, Desired, float], Step | None], ...] = (
        switching,
        runtime_broken,
        end_hung,
        engine_lost,
        keep_serving,
        judge_probation,
        judge_crash_loop,
        replace_leaking,
        cancelled,
        nothing_wished,
        disk_refused,
        held_by_owner,
        note_new_wish,
        release_failed_here,
        deadline_passed,
        must_not_obey,
        no_runtime,
        quarantined,
        not_chosen_yet,
        none_fits,
        step_governor,
        better_provider,
        already_running,
        read_trial,
        held_back,
        no_way_to_fetch,
        fetch,
        assemble,
        outside_window,
        room_made,
        untried,
        load,
        leased,
    )
    for rule in rules:
        step = rule(seen, want, now)
        if step is not None:
            return come_back(seen, step) if rule not in UNDER_WAY else step
    return activate(seen, want, now)
