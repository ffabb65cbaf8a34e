"""What concerns the fleet as a whole: whether the server works, the overview, events, releases, who did what."""

from typing import Any

import msgspec
from fastapi import APIRouter

from ..store.audit import AuditRow
from ..store.events import EventRow
from ..views import Views
from .asking import Asking, Who, Word
from .paging import After, Limit, page, seal, unseal


def make_fleet_routes(asking: Asking, views: Views) -> APIRouter:
    """Return the routes over these views."""
    routes = APIRouter()

    @routes.get("/healthz", name="health")
    def health(actor: Who) -> dict[str, Any]:
        """Whether the server can do its work; its counters, for whoever has rights in every region."""
        return views.health(asking.somewhere(actor, "health.read"))

    @routes.get("/v1/overview", name="show")
    def overview(actor: Who) -> dict[str, Any]:
        """Counts by region, rollouts, and the newest events, at most a second old."""
        return views.overview(asking.somewhere(actor, "device.read"))

    @routes.get("/v1/events", name="list")
    def events(
        actor: Who,
        device: Word = None,
        region: Word = None,
        kind: Word = None,
        limit: Limit = 100,
        after: After = None,
    ) -> dict[str, Any]:
        """What happened on devices, newest first."""
        if region is not None:
            asking.may(actor, "event.read", region)
        mark = unseal(after, float, int, str, str)
        regions = asking.somewhere(actor, "event.read")
        rows = views.lists.events(regions, device=device, region=region, kind=kind, before=mark, limit=limit)
        return page(rows, limit, event_mark, msgspec.to_builtins)

    @routes.get("/v1/releases", name="list")
    def releases(actor: Who, model: Word = None, limit: Limit = 100, after: After = None) -> dict[str, Any]:
        """Listed releases with their variants, by name."""
        asking.somewhere(actor, "release.read")
        rows = [row for row in views.releases() if model is None or row["release"].partition("/")[0] == model]
        return page([row for row in rows if after is None or row["release"] > after], limit, lambda row: row["release"])

    @routes.get("/v1/audit", name="list")
    def deeds(
        actor: Who, by: Word = None, action: Word = None, limit: Limit = 100, after: After = None
    ) -> dict[str, Any]:
        """Who did what, and what was refused, newest first. by: the name of whoever did it."""
        mark, regions = unseal(after, int), asking.somewhere(actor, "audit.read")
        before = mark[0] if mark else None
        rows = views.lists.audit(regions, actor=by, action=action, before=before, limit=limit)
        return page(rows, limit, deed_mark, msgspec.to_builtins)

    return routes


def event_mark(row: EventRow) -> str:
    """Return the mark of a page that ends with this event."""
    return seal(row.received_s, row.number, row.device, row.boot)


def deed_mark(row: AuditRow) -> str:
    """Return the mark of a page that ends with this deed."""
    return seal(row.id)
