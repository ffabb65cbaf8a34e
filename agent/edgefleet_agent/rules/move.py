"""From chosen to active: fetch, put together, try, load, switch."""

from edgefleet_protocol.manifest import Release, Variant

from ..conditions import DISK_AGAIN_S, LOOK_AGAIN_S, NO_SPACE, too_little_disk
from ..serve.providers import ENGINE_SHARE, builds
from ..slots import slot_name
from ..steps import Activate, Assemble, Cancel, Fail, Fetch, Load, NoteTrial, Settle, StandAside, Step, Try, Wait
from .health import load_bound_s
from .room import need_bytes, room
from .seen import Desired, Observed, chosen, failure_of, wished_name

TRIALS_BEGUN_ALLOWED = 3
"""Trials that took the agent or the device down with them."""


def read_trial(seen: Observed, want: Desired, now: float) -> Step | None:
    """A trial that runs is waited for; one that ended is noted."""
    if seen.trial == "none":
        return None
    assert want.release is not None and want.sha256 is not None
    variant = chosen(seen, want)
    if seen.trial == "running":
        return Wait(f"trying {wished_name(want)} ({variant.name}) before it serves{progress(seen)}", until=now + 0.2)
    return NoteTrial(want.release, want.sha256, variant, f"the trial of {wished_name(want)} ({variant.name}) is over")


def progress(seen: Observed) -> str:
    """Return how far a trial that builds an engine is, in words that go on a sentence: it may take many minutes."""
    if not builds(seen.provider):
        return ""
    minutes = int(seen.trial_s // 60)
    return f": {seen.provider} builds its engine" + (f", for {minutes} min now" if minutes else "")


def switching(seen: Observed, want: Desired, now: float) -> Step | None:
    """A switch under way ends before anything else is thought of; its deadline is the launcher's."""
    if seen.asked == "none":
        return None
    if seen.asked != "asking":
        return Settle("the worker that takes over was asked the golden inputs")
    if seen.stray:
        return cancelled(seen, want, now)
    return Wait(f"switching to {wished_name(want)}: it is asked the golden inputs before it serves", until=now + 0.05)


def cancelled(seen: Observed, want: Desired, now: float) -> Step | None:
    """S10: what is no longer wished is not brought to its end, and what serves is not touched."""
    if not seen.stray:
        return None
    return Cancel(
        f"a trial or a worker of {seen.model} is no longer wished: it is ended, and what serves goes on serving"
    )


def make_room(seen: Observed, want: Desired, now: float) -> Step | None:
    """Memory, before a trial and before a switch: beside the worker that serves where both fit, else instead of it."""
    assert want.release is not None and want.sha256 is not None
    variant = chosen(seen, want)
    slot = slot_name(want.sha256, variant.name)
    if seen.candidate is not None:
        return None
    if seen.aside:
        return Wait("the worker that serves ends, to make room", until=now + 0.05) if seen.making_room else None
    known = seen.facts.trial(slot)
    old = seen.probation.memory_bytes if seen.probation is not None else None
    serving = seen.server is not None and seen.server.accepting
    place = room(seen.around, seen.hardware.memory_bytes, need_bytes(variant, known), (old or 0) if serving else None)
    if place.how == "beside":
        return None
    if place.how == "none":
        return Wait(place.why, until=now + LOOK_AGAIN_S)
    if seen.aim is not None:
        return Wait(
            f"what is tried ahead comes only beside the worker that serves: {place.why}", until=now + LOOK_AGAIN_S
        )
    if builds(seen.provider) and (known is None or not known.passed or known.board not in ("", seen.board)):
        # It takes minutes, in which nothing would serve.
        return Wait(f"its engine is built only beside the worker that serves: {place.why}", until=now + LOOK_AGAIN_S)
    return StandAside(want.sha256, variant, f"{wished_name(want)} ({variant.name}) comes {place.why}")


def disk_refused(seen: Observed, want: Desired, now: float) -> Step | None:
    """After the disk refused a write, nothing is written for a while but what serving needs."""
    if seen.hold is None or now >= seen.hold.until:
        return None
    return Wait(seen.hold.why, until=min(seen.hold.until, now + DISK_AGAIN_S))


def fetch(seen: Observed, want: Desired, now: float) -> Step | None:
    """Ask for the chunks that are missing, when there is room for them and for the files made of them."""
    assert want.release is not None and want.sha256 is not None
    variant = chosen(seen, want)
    if not seen.missing or slot_name(want.sha256, variant.name) in seen.slots:
        return None
    need = sum(chunk.bytes for chunk in seen.missing) + slot_bytes(want.release, variant)
    if reason := too_little_disk(seen.around, need):
        return Wait(reason, until=now + DISK_AGAIN_S, tell=NO_SPACE)
    every = {chunk.sha256 for entry in want.release.files_for(variant) for chunk in entry.chunks}
    why = f"fetching {wished_name(want)} ({variant.name}): {len(every) - len(seen.missing)} of {len(every)} chunks are here"
    return Fetch(wished_name(want), seen.missing, why + trouble(seen))


def assemble(seen: Observed, want: Desired, now: float) -> Step | None:
    """Files from chunks, verified whole."""
    assert want.release is not None and want.sha256 is not None
    variant = chosen(seen, want)
    if slot_name(want.sha256, variant.name) in seen.slots:
        return None
    if reason := too_little_disk(seen.around, slot_bytes(want.release, variant)):
        return Wait(reason, until=now + DISK_AGAIN_S, tell=NO_SPACE)
    return Assemble(want.release, want.sha256, variant, f"putting {wished_name(want)} ({variant.name}) together")


def try_out(seen: Observed, want: Desired, now: float) -> Step | None:
    """Nothing serves that was not tried on this device."""
    assert want.release is not None and want.sha256 is not None
    variant = chosen(seen, want)
    known = seen.facts.trial(slot_name(want.sha256, variant.name))
    if known is not None and known.passed and known.board in ("", seen.board):
        return None
    if known is not None and known.begun >= TRIALS_BEGUN_ALLOWED:
        reason = f"{known.begun} trials ended with the agent or the device going down"
        return Fail(failure_of(seen, wished_name(want), want.sha256, variant.name, "trial", reason), reason)
    if builds(seen.provider) and (full := too_little_disk(seen.around, ENGINE_SHARE * variant.bytes)):
        return Wait(f"for an engine of {seen.provider}, {full}", until=now + DISK_AGAIN_S, tell=NO_SPACE)
    return Try(want.release, want.sha256, variant, f"trying {wished_name(want)} ({variant.name}) before it serves")


def load(seen: Observed, want: Desired, now: float) -> Step | None:
    """The candidate loads beside the one that serves."""
    assert want.release is not None and want.sha256 is not None
    variant = chosen(seen, want)
    candidate = seen.candidate
    if candidate is None or candidate.slot != slot_name(want.sha256, variant.name):
        return Load(want.release, want.sha256, variant, f"loading {wished_name(want)} ({variant.name}) for the switch")
    if candidate.state == "dead":
        reason = f"its worker died while loading: {candidate.why_dead}"[:2000]
        return Fail(failure_of(seen, wished_name(want), want.sha256, variant.name, "switch", reason), reason)
    if candidate.state == "starting":
        if candidate.age_s > (allowed := load_bound_s(variant.requires.load_s)):
            reason = f"its worker has been loading for {candidate.age_s:.0f} s and {allowed:.0f} s are enough"
            return Fail(failure_of(seen, wished_name(want), want.sha256, variant.name, "switch", reason), reason)
        return Wait(f"loading {wished_name(want)} ({variant.name}) for the switch", until=now + 0.1)
    return None


def activate(seen: Observed, want: Desired, now: float) -> Step:
    """All is ready: switch."""
    assert want.release is not None and want.sha256 is not None
    variant = chosen(seen, want)
    return Activate(want.release, want.sha256, variant, f"switching to {wished_name(want)} ({variant.name})")


def trouble(seen: Observed) -> str:
    """Return what keeps chunks from coming, in words that go on a sentence; nothing when they come."""
    rows = [seen.troubles[chunk.sha256] for chunk in seen.missing if chunk.sha256 in seen.troubles]
    more = f"; and {len(rows) - 1} more like it" if len(rows) > 1 else ""
    return f"; {rows[0]}{more}" if rows else ""


def slot_bytes(release: Release, variant: Variant) -> int:
    return sum(entry.bytes for entry in release.files_for(variant))
