"""The routes of /v1. Each says first who asks and whether they may."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query

from edgefleet_protocol.names import check_label

from ..broker.revocation import Revocation
from ..errors import NotFound, Refused
from ..rollouts.controller import Controller
from ..rollouts.orders import Order
from ..seams import Clock
from ..store import audit
from ..store.database import Database
from ..views import Views
from .actor import Action, Actor, authorise, current_actor
from .bodies import AssignmentBody, ReasonBody, RolloutBody

Who = Annotated[Actor, Depends(current_actor)]
Limit = Annotated[int, Query(ge=1, le=1000)]


def make_routes(
    controller: Controller, views: Views, database: Database, clock: Clock, revocation: Revocation
) -> APIRouter:
    """Return the routes over this controller and these views."""
    routes = APIRouter()

    def may(actor: Actor, action: Action, region: str | None) -> None:
        """Authorise; a refusal is written down too."""
        try:
            authorise(actor, action, region)
        except Refused as error:
            with database.write() as connection:
                row = audit.AuditRow(clock.now(), actor.name, action, region, "", f"refused: {error}")
                audit.add(connection, row)
            raise

    def may_all(actor: Actor, action: Action, order: Order) -> None:
        for region in order.regions or (None,):
            may(actor, action, region)

    def region_of(device: str) -> str | None:
        """The device's region; None for one that has a certificate and was never heard of."""
        try:
            found: str | None = views.device(device)["region"]
        except NotFound:
            return None
        return found

    @routes.get("/healthz")
    def health(actor: Who) -> dict[str, Any]:
        may(actor, "health.read", None)
        return views.health()

    @routes.get("/v1/overview")
    def overview(actor: Who) -> dict[str, Any]:
        may(actor, "device.read", None)
        return views.overview()

    @routes.get("/v1/devices")
    def devices(actor: Who, region: str | None = None) -> list[dict[str, Any]]:
        may(actor, "device.read", region)
        return views.devices(region)

    @routes.get("/v1/devices/{device}")
    def device(actor: Who, device: str) -> dict[str, Any]:
        found = views.device(device)
        may(actor, "device.read", found["region"])
        return found

    @routes.get("/v1/devices/{device}/latency")
    def latency(
        actor: Who,
        device: str,
        last_s: Annotated[float, Query(ge=10, le=86400 * 60)] = 3600.0,
        model: str | None = None,
    ) -> dict[str, Any]:
        may(actor, "device.read", views.device(device)["region"])
        return views.latency(device, last_s=last_s, model=model)

    @routes.put("/v1/devices/{device}/assignment")
    def assign(actor: Who, device: str, body: AssignmentBody) -> dict[str, Any]:
        may(actor, "device.assign", body.region)
        document = controller.assign(device, body.region, tuple(body.tags), actor.name)
        return {**msgspec.to_builtins(document), "broker_connected": views.connected}

    @routes.delete("/v1/devices/{device}")
    def forget(actor: Who, device: str, force: bool = False) -> dict[str, Any]:
        may(actor, "device.forget", views.device(device)["region"])
        controller.forget(device, actor.name, force=force)
        return {"device": device, "broker_connected": views.connected}

    @routes.post("/v1/devices/{device}/revoke")
    def revoke(actor: Who, device: str) -> dict[str, Any]:
        may(actor, "device.revoke", region_of(device))
        steps = revocation.cut_off(check_label("device", device))
        done = "; ".join(f"{step.name}: {step.words}" for step in steps)
        with database.write() as connection:
            audit.add(connection, audit.AuditRow(clock.now(), actor.name, "device.revoke", None, device, done))
        return {
            "device": device,
            "done": all(step.done for step in steps),
            "steps": [{"name": step.name, "done": step.done, "words": step.words} for step in steps],
        }

    @routes.get("/v1/rollouts")
    def rollouts(actor: Who, region: str | None = None, past: bool = False) -> list[dict[str, Any]]:
        may(actor, "rollout.read", region)
        return views.rollouts(region, past=past)

    @routes.post("/v1/rollouts/plan")
    def plan(actor: Who, body: RolloutBody) -> dict[str, Any]:
        order = body.order()
        may_all(actor, "rollout.plan", order)
        return {"regions": [row.to_json() for row in controller.plan(order)]}

    @routes.post("/v1/rollouts", status_code=201)
    def start(actor: Who, body: RolloutBody) -> dict[str, Any]:
        order = body.order()
        may_all(actor, "rollout.start", order)
        plans = controller.begin(order, actor.name)
        return {"regions": [row.to_json() for row in plans], "broker_connected": views.connected}

    @routes.get("/v1/rollouts/{region}")
    def rollout(actor: Who, region: str) -> list[dict[str, Any]]:
        may(actor, "rollout.read", region)
        return views.rollouts_of(region)

    @routes.post("/v1/rollouts/{region}/pause")
    def pause(actor: Who, region: str, body: ReasonBody, model: str | None = None) -> list[dict[str, Any]]:
        may(actor, "rollout.pause", region)
        controller.pause(region, model, actor.name, body.why)
        return views.rollouts_of(region)

    @routes.post("/v1/rollouts/{region}/resume")
    def resume(actor: Who, region: str, body: ReasonBody, model: str | None = None) -> list[dict[str, Any]]:
        may(actor, "rollout.resume", region)
        controller.resume(region, model, actor.name, body.why)
        return views.rollouts_of(region)

    @routes.post("/v1/rollouts/{region}/go-back")
    def go_back(actor: Who, region: str, body: ReasonBody, model: str | None = None) -> list[dict[str, Any]]:
        may(actor, "rollout.go-back", region)
        controller.go_back(region, model, actor.name, body.why)
        return views.rollouts_of(region)

    @routes.get("/v1/events")
    def events(actor: Who, device: str | None = None, limit: Limit = 100) -> list[dict[str, Any]]:
        may(actor, "event.read", None)
        return views.events(device=device, limit=limit)

    @routes.get("/v1/releases")
    def releases(actor: Who) -> list[dict[str, Any]]:
        may(actor, "release.read", None)
        return views.releases()

    @routes.get("/v1/audit")
    def deeds(actor: Who, limit: Limit = 100) -> list[dict[str, Any]]:
        may(actor, "audit.read", None)
        return views.audit(limit)

    return routes
