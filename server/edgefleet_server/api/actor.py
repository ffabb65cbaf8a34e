"""Who asks, and whether they may."""

from dataclasses import dataclass
from typing import Literal

from ..errors import NotAllowed

Action = Literal[
    "device.read", "device.assign", "device.forget", "device.revoke", "rollout.read", "rollout.plan", "rollout.start", "rollout.pause", "rollout.resume",
    "rollout.go-back", "release.read", "event.read", "audit.read", "health.read",
]  # fmt: skip


@dataclass(frozen=True)
class Actor:
    """Somebody who asks. `regions` of None is every region."""

    name: str
    actions: frozenset[str] | None = None
    """What they may do; None is everything."""
    regions: frozenset[str] | None = None


LOCAL = Actor("a person on this machine")
"""Until there are identities, whoever reaches loopback is the operator; the server listens nowhere else."""


def authorise(actor: Actor, action: Action, region: str | None) -> None:
    """Return when `actor` may do `action` in `region` (None: in the whole fleet); raise NotAllowed otherwise."""
    if actor.actions is not None and action not in actor.actions:
        raise NotAllowed(f"{actor.name} may not {action}; they may: {', '.join(sorted(actor.actions)) or 'nothing'}")
    if actor.regions is not None and region not in actor.regions:
        where = f"in {region}" if region else "in the whole fleet"
        raise NotAllowed(f"{actor.name} may not {action} {where}; theirs: {', '.join(sorted(actor.regions)) or 'none'}")


def current_actor() -> Actor:
    """Return who asks. A dependency of every route, so that identities come to all of them at once."""
    return LOCAL
