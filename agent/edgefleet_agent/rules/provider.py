"""Rules about runtimes, providers and what they built: S31, a system that changed below a variant."""

from ..conditions import LOOK_AGAIN_S
from ..slots import slot_name
from ..steps import FallBack, Step, Wait
from .leased import leased
from .move import activate, load, read_trial
from .permits import held_back, outside_window
from .seen import Desired, Observed, back_to, chosen, failed_variants, failure_of, wished_name
from .turn import room_for_itself, untried


def no_runtime(seen: Observed, want: Desired, now: float) -> Step | None:
    """A device that has none of the runtimes waits for one: the release is not at fault, and does not fail for it."""
    assert want.release is not None
    needed = sorted({variant.runtime for variant in want.release.variants})
    if any(seen.hardware.runtime(name) is not None for name in needed):
        return None
    words = (
        f"{wished_name(want)} needs {' or '.join(needed)}, which is not installed or cannot be imported here: "
        f"install edgefleet-agent[runtime], or see why `python -c 'import {needed[0]}'` fails"
    )
    return Wait(words, until=now + LOOK_AGAIN_S, tell="runtime-missing")


def engine_lost(seen: Observed, want: Desired, now: float) -> Step | None:
    """The active variant ran by an engine that this system cannot use, and the release allows it nothing else."""
    active = seen.facts.active
    if active is None or not seen.unservable or seen.aside:
        return None
    if active.variant in failed_variants(seen.facts, active.release_sha256):
        return None  # noted before, and there was nothing to go back to
    failure = failure_of(seen, active.release, active.release_sha256, active.variant, "trial", seen.unservable)
    return FallBack(failure, back_to(seen.facts), seen.unservable)


def better_provider(seen: Observed, want: Desired, now: float) -> Step | None:
    """What serves on a slower provider, because the system changed, is tried and switched to the faster one."""
    assert want.sha256 is not None
    active, variant = seen.facts.active, chosen(seen, want)
    slot = slot_name(want.sha256, variant.name)
    if active is None or active.slot != slot or seen.server is None or not seen.server.accepting:
        return None
    fact = seen.facts.trial(slot)
    if fact is None or not seen.served_on:
        return None
    again = fact.passed and fact.board not in ("", seen.board) and seen.provider != seen.served_on
    tried = fact.passed and fact.board == seen.board and fact.provider not in ("", seen.served_on)
    if not (again or tried or seen.trial != "none" or (not fact.passed and fact.begun)):
        return None
    for rule in (read_trial, held_back, outside_window, room_for_itself, untried, load, leased):
        step = rule(seen, want, now)
        if step is not None:
            return step
    return activate(seen, want, now)
