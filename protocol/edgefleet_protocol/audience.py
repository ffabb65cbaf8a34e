"""Is this device meant? Answered alike by the device, the server's plan and the simulator."""

import hashlib
from datetime import datetime

from .rollout import Assignment, Rollout, Stage


def stable_number(device: str, assignment: Assignment) -> float:
    """Return the device's place in the audience, from 0 up to but not including 100.

    It depends on the device and the release only: a wider stage keeps everyone of the narrower one, and another
    release has other first devices, so that the same ones do not always carry the risk.
    """
    digest = hashlib.sha256(f"{assignment.release.sha256}:{device}".encode()).digest()
    # 48 bits: exact in a float, so that the largest does not round up to 100 and out of an audience of everyone.
    return int.from_bytes(digest[:6], "big") / 2**48 * 100


def why_not(
    device: str, tags: tuple[str, ...], hardware_class: str, assignment: Assignment, joined: datetime | None = None
) -> str | None:
    """Return why `assignment` is not for this device, in words, or None when it is.

    joined: since when it has belonged to its region, as far as it was told.
    """
    if reason := why_outside(tags, hardware_class, assignment, joined):
        return reason
    number = stable_number(device, assignment)
    open_now = min(assignment.stage, len(assignment.stages) - 1)
    place = stage_of(device, tags, hardware_class, assignment, number)
    if place is not None and place < open_now:
        return None
    if place == open_now:
        if assignment.opened_percent is None or number < assignment.opened_percent:
            return None
        return f"stage {open_now + 1} opens in waves, now up to {assignment.opened_percent:.1f} %, and this one is at {number:.1f}"
    if place is not None and not _is_plain(assignment):
        return f"it comes in stage {place + 1} of {len(assignment.stages)} and stage {open_now + 1} is open"
    if place is None and not _is_plain(assignment):
        return f"no stage is for it: {_narrowest(tags, hardware_class, assignment.stages[-1], number)}"
    return f"it is for {assignment.percent:g} % of devices now and this one is at {number:.1f}"


def why_outside(
    tags: tuple[str, ...], hardware_class: str, assignment: Assignment, joined: datetime | None = None
) -> str | None:
    """Return why a device is not of the audience at all, whatever stage is open, or None when it is."""
    audience = assignment.audience
    if missing := sorted(set(audience.tags) - set(tags)):
        return f"it is for devices tagged {', '.join(missing)}"
    if audience.hardware and hardware_class not in audience.hardware:
        return f"it is for {', '.join(audience.hardware)} and this is {hardware_class}"
    if assignment.joined_before is not None and joined is not None and joined >= assignment.joined_before:
        return f"it joined the region on {joined:%Y-%m-%d %H:%M} UTC, after this rollout began; it comes when that is complete"
    return None


def stage_of(
    device: str, tags: tuple[str, ...], hardware_class: str, assignment: Assignment, number: float | None = None
) -> int | None:
    """Return the first stage that lets a device of the audience in, from 0, or None when none ever does.

    number: its stable number, where it is known already.
    """
    place = stable_number(device, assignment) if number is None else number
    for index, stage in enumerate(assignment.stages):
        if is_for(stage, device, tags, hardware_class, place):
            return index
    return None


def is_for(stage: Stage, device: str, tags: tuple[str, ...], hardware_class: str, number: float) -> bool:
    """Return whether a stage, by itself, is for a device of the audience. number: its stable number."""
    return device in stage.devices or (number < stage.percent and _matches(tags, hardware_class, stage))


def wish_for(
    model: str,
    device: str,
    tags: tuple[str, ...],
    hardware_class: str,
    rollout: Rollout,
    joined: datetime | None = None,
) -> tuple[Assignment | None, str]:
    """Return the first assignment of `model` that admits the device, and why no earlier one did."""
    reasons: list[str] = []
    for assignment in rollout.assignments:
        if assignment.model != model:
            continue
        reason = why_not(device, tags, hardware_class, assignment, joined)
        if reason is None:
            return assignment, "; ".join(reasons)
        reasons.append(f"{assignment.release.path}: {reason}")
    return None, "; ".join(reasons) or f"no assignment names {model}"


def models_of(rollout: Rollout) -> tuple[str, ...]:
    """Return the models that `rollout` names, in its order."""
    return tuple(dict.fromkeys(assignment.model for assignment in rollout.assignments))


def _matches(tags: tuple[str, ...], hardware_class: str, stage: Stage) -> bool:
    if stage.tags and not set(stage.tags) <= set(tags):
        return False
    return not stage.hardware or hardware_class in stage.hardware


def _is_plain(assignment: Assignment) -> bool:
    """Whether its stages are shares and nothing else."""
    return not any(stage.tags or stage.hardware or stage.devices for stage in assignment.stages)


def _narrowest(tags: tuple[str, ...], hardware_class: str, stage: Stage, number: float) -> str:
    if missing := sorted(set(stage.tags) - set(tags)):
        return f"the last is for devices tagged {', '.join(missing)}"
    if stage.hardware and hardware_class not in stage.hardware:
        return f"the last is for {', '.join(stage.hardware)} and this is {hardware_class}"
    return f"the last is for {stage.percent:g} % of devices and this one is at {number:.1f}"
