"""Who asks, and whether they may."""

from dataclasses import dataclass

from fastapi import Request

from ..errors import NotAllowed
from .rights import Action

__all__ = ["LOCAL", "Action", "Actor", "authorise", "current_actor"]


@dataclass(frozen=True)
class Actor:
    """Somebody who asks. `regions` of None is every region."""

    name: str
    actions: frozenset[str] | None = None
    """What they may do; None is everything."""
    regions: frozenset[str] | None = None


LOCAL = Actor("a person on this machine")
"""With `http.open`, whoever reaches loopback may do everything; the server listens nowhere else then."""


def authorise(actor: Actor, action: Action, region: str | None) -> None:
    """Return when `actor` may do `action` in `region` (None: in the whole fleet); raise NotAllowed otherwise."""
    authorise_somewhere(actor, action)
    if actor.regions is not None and region not in actor.regions:
        where = f"in {region}" if region else "in the whole fleet"
        raise NotAllowed(f"{actor.name} may not {action} {where}; theirs: {', '.join(sorted(actor.regions)) or 'none'}")


def authorise_somewhere(actor: Actor, action: Action) -> frozenset[str] | None:
    """Return the regions in which `actor` may do `action`, None for every region; raise NotAllowed when nowhere."""
    if actor.actions is not None and action not in actor.actions:
        raise NotAllowed(f"{actor.name} may not {action}; they may: {', '.join(sorted(actor.actions)) or 'nothing'}")
    return actor.regions


def current_actor(request: Request) -> Actor:
    """Return who asks. A dependency of every route; raises NoToken when nobody knows."""
    actor: Actor = request.app.state.door.who(request.headers.get("authorization"))
    return actor
