"""A rollout that takes the place of one that has not ended: in words, for its plan, its start, and both of them afterwards. Pure."""

from edgefleet_protocol.rollout import Assignment
from edgefleet_protocol.trust import release_of_path

from ..store.rollouts import Record


def taken(current: Record | None) -> str | None:
    """Return which rollout is cut short by one that is started now, or None where none is under way."""
    if current is None or current.status not in ("running", "paused"):
        return None
    return (
        f"{current.release} (rollout {current.id}), which is {current.status} at stage {current.stage + 1} of "
        f"{len(current.assignment.stages)}"
    )


def before_it_starts(current: Record | None, base: Assignment | None, release: str) -> str | None:
    """Return what starting `release` does to the rollout that is under way, or None where there is none. base: what it goes over."""
    which = taken(current)
    if which is None:
        return None
    back = "keep what they run" if base is None else f"go back to {release_of_path(base.release.path)}"
    return f"It takes the place of {which}: that one ends there, and devices that it let in {back} until {release} lets them in"
