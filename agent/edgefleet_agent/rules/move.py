"""From chosen to active: fetch, put together, try, load, switch."""

from edgefleet_protocol.manifest import Release, Variant

from ..conditions import DISK_AGAIN_S, LOOK_AGAIN_S, NO_SPACE, too_little_disk, too_little_memory
from ..slots import slot_name
from ..steps import Activate, Assemble, Fail, Fetch, Load, NoteTrial, Step, Try, Wait
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
        return Wait(f"trying {wished_name(want)} ({variant.name}) before it serves", until=now + 0.2)
    return NoteTrial(want.release, want.sha256, variant, f"the trial of {wished_name(want)} ({variant.name}) is over")


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
    if known is not None and known.passed:
        return None
    if known is not None and known.begun >= TRIALS_BEGUN_ALLOWED:
        reason = f"{known.begun} trials ended with the agent or the device going down"
        return Fail(failure_of(seen, wished_name(want), want.sha256, variant.name, "trial", reason), reason)
    if tight := too_little_memory(seen.around, variant.requires.memory_bytes):
        return Wait(tight, until=now + LOOK_AGAIN_S)
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
