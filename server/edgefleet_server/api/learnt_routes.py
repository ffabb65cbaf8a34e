"""What devices measured by class, and the variants that are wished for: what the search for better variants starts from."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from ..errors import BadRequest
from ..rollouts.controller import Controller
from ..store import measurements
from ..store.database import Database
from ..views.learnt import measured_view, missing_view
from .actor import Actor, current_actor
from .asking import Asking

Who = Annotated[Actor, Depends(current_actor)]
Limit = Annotated[int, Query(ge=1, le=1000)]
DAY_S = 86400.0


def make_learnt_routes(controller: Controller, database: Database, asking: Asking) -> APIRouter:
    """Return the routes over this controller."""
    routes = APIRouter()

    @routes.get("/v1/measurements")
    def measured(actor: Who, release: str | None = None, limit: Limit = 1000, after: str = "") -> dict[str, Any]:
        asking.somewhere(actor, "release.read")
        with database.read() as connection:
            served = measurements.served(connection, asking.clock.now() - DAY_S)
        rows = [row for row in measured_view(controller.learnt(), served) if release in (None, row["release"])]
        return _page(rows, limit, after)

    @routes.get("/v1/wishes")
    def wishes(actor: Who, limit: Limit = 1000, after: str = "") -> dict[str, Any]:
        regions = asking.somewhere(actor, "rollout.read")
        current = [row for row in controller.current() if regions is None or row.region in regions]
        rows = [missing_view(row) for record in current for row in controller.missing(record)]
        return _page(rows, limit, after)

    return routes


def _page(rows: list[dict[str, Any]], limit: int, after: str) -> dict[str, Any]:
    # Not isdigit() alone: it says yes to digits of which int() makes no number.
    if after and not (after.isascii() and after.isdigit() and len(after) < 10):
        raise BadRequest(f"after is {after[:40]!r}, which no page gave out: take `next` as it came")
    start = int(after or 0)
    end = start + limit
    return {"items": rows[start:end], "next": str(end) if end < len(rows) else None}
