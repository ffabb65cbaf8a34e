"""Is this device meant? Answered alike by the device, the server's plan and the simulator."""

import hashlib

from .rollout import Assignment, Rollout


def stable_number(device: str, assignment: Assignment) -> float:
    """Return the device's place in the audience, from 0 up to but not including 100.

    It depends on the device and the release only: a wider stage keeps everyone of the narrower one, and another
    release has other first devices, so that the same ones do not always carry the risk.
    """
    digest = hashlib.sha256(f"{assignment.release.sha256}:{device}".encode()).digest()
    # 48 bits: exact in a float, so that the largest does not round up to 100 and out of an audience of everyone.
    return int.from_bytes(digest[:6], "big") / 2**48 * 100


def why_not(device: str, tags: tuple[str, ...], hardware_class: str, assignment: Assignment) -> str | None:
    """Return why `assignment` is not for this device, in words, or None when it is."""
    audience = assignment.audience
    if missing := sorted(set(audience.tags) - set(tags)):
        return f"it is for devices tagged {', '.join(missing)}"
    if audience.hardware and hardware_class not in audience.hardware:
        return f"it is for {', '.join(audience.hardware)} and this is {hardware_class}"
    number = stable_number(device, assignment)
    if number >= assignment.percent:
        return f"it is for {assignment.percent:g} % of devices now and this one is at {number:.1f}"
    return None


def wish_for(
    model: str, device: str, tags: tuple[str, ...], hardware_class: str, rollout: Rollout
) -> tuple[Assignment | None, str]:
    """Return the first assignment of `model` that admits the device, and why no earlier one did."""
    reasons: list[str] = []
    for assignment in rollout.assignments:
        if assignment.model != model:
            continue
        reason = why_not(device, tags, hardware_class, assignment)
        if reason is None:
            return assignment, "; ".join(reasons)
        reasons.append(f"{assignment.release.path}: {reason}")
    return None, "; ".join(reasons) or f"no assignment names {model}"


def models_of(rollout: Rollout) -> tuple[str, ...]:
    """Return the models that `rollout` names, in its order."""
    return tuple(dict.fromkeys(assignment.model for assignment in rollout.assignments))
