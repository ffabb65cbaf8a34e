"""What to do next for one model. Pure: reads neither clock, disk nor network.

`decide` goes through small rules in one visible order; the first that has an answer gives the step. The order of the
lines is the policy. The rules stand in `rules/`: `keep` what serves, `wish` what is wanted, `move` towards it.
"""

from collections.abc import Callable

from .rules.health import end_hung, replace_leaking, runtime_broken
from .rules.keep import judge_probation, keep_serving
from .rules.move import (
    activate,
    assemble,
    cancelled,
    disk_refused,
    fetch,
    held_back,
    load,
    make_room,
    read_trial,
    try_out,
)
from .rules.provider import better_provider, engine_lost, no_runtime
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
        runtime_broken,
        end_hung,
        engine_lost,
        keep_serving,
        judge_probation,
        replace_leaking,
        cancelled,
        nothing_wished,
        disk_refused,
        note_new_wish,
        release_failed_here,
        deadline_passed,
        must_not_obey,
        no_runtime,
        not_chosen_yet,
        none_fits,
        better_provider,
        already_running,
        read_trial,
        held_back,
        fetch,
        assemble,
        make_room,
        try_out,
        load,
    )
    for rule in rules:
        step = rule(seen, want, now)
        if step is not None:
            return step
    return activate(seen, want, now)
