"""Who asks, and whether they may."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from ..errors import NotAllowed
from .rights import Action

if TYPE_CHECKING:
    from .door import Door

__all__ = ["COOKIE", "LOCAL", "Action", "Actor", "actor_of", "authorise", "current_actor"]

COOKIE = "edgefleet_token"
"""Of a browser that signed in on the page. No script can read it."""


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


def actor_of(door: "Door", headers: Headers) -> Actor:
    """Return who sent these headers: a token as a program sends it, or the cookie that the page gave to a browser.

    Raises NoToken when nobody knows. A cookie is sent by browsers to every address of ours, also for what a foreign page
    asked of them: it is SameSite=Strict, and the guard refuses what changes something and does not come from our pages.
    """
    said = headers.get("authorization")
    if said is None and (secret := cookie_parser(headers.get("cookie", "")).get(COOKIE)):
        said = f"Bearer {secret}"
    return door.who(said)


def current_actor(request: Request) -> Actor:
    """Return who asks. A dependency of every route; raises NoToken when nobody knows."""
    return actor_of(request.app.state.door, request.headers)
