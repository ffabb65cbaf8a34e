"""The routes of /v1/alerts."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from ..alerts.judge import Alert
from ..alerts.words import alert_view
from ..errors import NotFound, Refused
from ..store import alerts
from ..views import Views
from .actor import Actor
from .asking import Asking, Number, Who, Word
from .paging import After, Limit, page, seal, unseal

MOST_SILENT_S = 30 * 86400.0


class SilenceBody(BaseModel):
    """For how long nobody is told."""

    seconds: float = Field(default=3600.0, ge=60, le=MOST_SILENT_S)
    why: str = Field(default="", max_length=500)


class AcknowledgeBody(BaseModel):
    """Who has it in hand says why."""

    why: str = Field(default="", max_length=500)


def make_alert_routes(asking: Asking, views: Views) -> APIRouter:
    """Return the routes. What is of the whole fleet is seen by whoever has rights in every region."""
    routes, database, clock = APIRouter(), asking.database, asking.clock

    def held(actor: Actor, number: int) -> Alert:
        regions = asking.somewhere(actor, "alert.hold")
        with database.read() as connection:
            found = alerts.find(connection, number, regions)
        if found is None:
            raise NotFound(f"there is no alert {number}. See: edgefleet alert list --past")
        if found.status == "resolved":
            raise Refused(f"alert {number} is resolved already: there is nothing to take or to silence")
        return found

    def shown(number: int) -> dict[str, Any]:
        with database.read() as connection:
            found = alerts.find(connection, number)
        assert found is not None
        return alert_view(found, clock.now())

    @routes.get("/v1/alerts", name="list")
    def every(
        actor: Who,
        past: bool = False,
        region: Word = None,
        rule: Word = None,
        severity: Word = None,
        limit: Limit = 200,
        after: After = None,
    ) -> dict[str, Any]:
        """What is open, newest first; past: also what was resolved."""
        regions, before = asking.somewhere(actor, "alert.read"), unseal(after, float, int)
        rows = views.lists.alerts(
            regions,
            past=past,
            region=region,
            rule=rule,
            severity=severity,
            before=before,
            limit=limit,
        )
        return page(rows, limit, lambda row: seal(row["opened_s"], row["id"]))

    @routes.get("/v1/alerts/{number}", name="show")
    def one(actor: Who, number: Number) -> dict[str, Any]:
        """One alert with all that it is about."""
        regions = asking.somewhere(actor, "alert.read")
        with database.read() as connection:
            found = alerts.find(connection, number, regions)
        if found is None:
            raise NotFound(f"there is no alert {number}. See: edgefleet alert list --past")
        return {**alert_view(found, clock.now()), "subjects": list(found.subjects)}

    @routes.post("/v1/alerts/{number}/acknowledge", name="acknowledge")
    def acknowledge(actor: Who, number: Number, body: AcknowledgeBody) -> dict[str, Any]:
        """Say that you have it in hand."""
        found = held(actor, number)
        with database.write() as connection:
            alerts.acknowledge(connection, number, actor.name, clock.now())
        asking.deed(
            actor, "alert.hold", found.region or None, f"{number} {found.rule}", f"acknowledged {body.why}".strip()
        )
        return shown(number)

    @routes.post("/v1/alerts/{number}/silence", name="silence")
    def silence(actor: Who, number: Number, body: SilenceBody) -> dict[str, Any]:
        """Have nobody told of it for a while."""
        found = held(actor, number)
        with database.write() as connection:
            alerts.silence(connection, number, actor.name, clock.now() + body.seconds)
        said = f"silenced for {body.seconds:g} s {body.why}".strip()
        asking.deed(actor, "alert.hold", found.region or None, f"{number} {found.rule}", said)
        return shown(number)

    return routes
