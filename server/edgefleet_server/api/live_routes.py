"""The route /v1/live, and what it looks at."""

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response, StreamingResponse

from ..errors import NoToken
from ..store.outage import Outage
from ..views import Views
from .actor import actor_of
from .asking import Asking, Who
from .live import Live
from .problems import problem

NEWEST_EVENTS = 50
ALERT = ("id", "status", "rule", "severity", "region", "text", "next", "count")


def make_live(views: Views, outage: Outage) -> Live:
    """Return the task that looks at the fleet for all watchers. outage: of the database that the views read."""
    return Live(lambda: look(views), secrets.token_hex(4), outage)


def make_live_routes(asking: Asking, views: Views, live: Live) -> APIRouter:
    """Return the route; all its watchers share one task."""
    routes = APIRouter()

    @routes.get("/v1/live", name="watch", response_class=StreamingResponse)
    def watch(
        request: Request,
        actor: Who,
        region: Annotated[str | None, Query(max_length=64)] = None,
        seconds: Annotated[float | None, Query(ge=0, le=86400, description="then the stream ends")] = None,
        last_event_id: Annotated[str | None, Header(max_length=64)] = None,
    ) -> Response:
        """What changes, as server-sent events: `region`, `rollout`, `alert`, `happened`; `reset`: look anew.

        Each is told to whoever may see its region; without `region`, of all regions that one may see.
        """
        if region is not None:
            asking.may(actor, "device.read", region)
            views.check_region(region)
        regions = asking.somewhere(actor, "device.read")
        if live.full:
            return problem(503, "so many watch already that nobody more may", kind="too-many")

        def may_still() -> bool:
            """A token may end, or lose its regions, while its stream is open."""
            try:
                now = actor_of(request.app.state.door, request.headers)
            except NoToken:
                return False
            return (now.actions, now.regions) == (actor.actions, actor.regions)

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        told = live.watch(regions, region, last_event_id, may_still=may_still, seconds=seconds)
        return StreamingResponse(told, media_type="text/event-stream", headers=headers)

    return routes


def look(views: Views) -> dict[tuple[str, str | None, str], Any]:
    """Return what there is now, by event, region and name. Of the whole fleet, for the stream gives each its own part."""
    found: dict[tuple[str, str | None, str], Any] = {}
    for row in views.lists.fleet(None)["regions"]:
        found["region", row["region"], row["region"] or ""] = row
    for row in views.lists.current_rollouts():
        found["rollout", row["region"], str(row["id"])] = row
    for row in views.lists.alerts(None, limit=200):
        found["alert", row["region"], str(row["id"])] = {name: row[name] for name in ALERT}
    for region, event in views.lists.newest_events(NEWEST_EVENTS):
        found["happened", region, f"{event['device']} {event['boot']} {event['number']}"] = event
    return found
