"""The routes of /v1. Each says first who asks and whether they may."""

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query

from edgefleet_protocol.names import check_label

from ..broker.revocation import Revocation
from ..commanding import Commander
from ..errors import NotFound
from ..rollouts.beginning import whole_digest
from ..rollouts.controller import Controller
from ..rollouts.orders import Order
from ..seams import Clock
from ..store import audit, devices
from ..store.database import Database
from ..views import Views
from .actor import Action, Actor, current_actor
from .asking import Asking
from .bodies import AssignmentBody, CommandBody, ReasonBody, RolloutBody

Who = Annotated[Actor, Depends(current_actor)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Number = Annotated[int, Path(ge=1, le=2**53)]


def make_routes(
    controller: Controller,
    views: Views,
    database: Database,
    clock: Clock,
    commander: Commander,
    revocation: Revocation,
) -> APIRouter:
    """Return the routes over this controller and these views."""
    routes = APIRouter()

    asking = Asking(database, clock)
    may, somewhere = asking.may, asking.somewhere

    def on(actor: Actor, action: Action, device: str) -> str | None:
        """Authorise for one device; return its region.

        Raises NotFound for one of another region too, in the same words: who may not see it learns not even that it is there.
        """
        regions = somewhere(actor, action)
        with database.read() as connection:
            found = devices.find_in(connection, device, regions)
            elsewhere = None if found else devices.find(connection, device)
        if elsewhere is not None:
            asking.deed(actor, action, elsewhere.region, device, f"refused: {actor.name} has no rights there")
        if found is None:
            raise NotFound(f"no device {device} is known. See: edgefleet device list")
        return found.region

    def may_all(actor: Actor, action: Action, order: Order) -> None:
        for region in order.regions or (None,):
            may(actor, action, region)

    @routes.get("/healthz")
    def health(actor: Who) -> dict[str, Any]:
        return views.health(somewhere(actor, "health.read"))

    @routes.get("/v1/overview")
    def overview(actor: Who) -> dict[str, Any]:
        return views.overview(somewhere(actor, "device.read"))

    @routes.get("/v1/devices")
    def every_device(actor: Who, region: str | None = None) -> list[dict[str, Any]]:
        if region is not None:
            may(actor, "device.read", region)
        return views.devices(region, somewhere(actor, "device.read"))

    @routes.get("/v1/devices/{device}")
    def device(actor: Who, device: str) -> dict[str, Any]:
        on(actor, "device.read", device)
        return views.device(device, actor.regions)

    @routes.get("/v1/devices/{device}/latency")
    def latency(
        actor: Who,
        device: str,
        last_s: Annotated[float, Query(ge=10, le=86400 * 60)] = 3600.0,
        model: str | None = None,
    ) -> dict[str, Any]:
        on(actor, "device.read", device)
        return views.latency(device, last_s=last_s, model=model)

    @routes.put("/v1/devices/{device}/assignment")
    def assign(actor: Who, device: str, body: AssignmentBody) -> dict[str, Any]:
        may(actor, "device.assign", body.region)
        with database.read() as connection:
            is_known = devices.find(connection, device) is not None
        # It leaves a region too. Who has rights in some regions only takes none from another, and names none beforehand.
        if is_known or actor.regions is not None:
            on(actor, "device.assign", device)
        document = controller.assign(device, body.region, tuple(body.tags), actor.name)
        return {**msgspec.to_builtins(document), "broker_connected": views.connected}

    @routes.delete("/v1/devices/{device}")
    def forget(actor: Who, device: str, force: bool = False) -> dict[str, Any]:
        on(actor, "device.forget", device)
        controller.forget(device, actor.name, force=force)
        return {"device": device, "broker_connected": views.connected}

    @routes.post("/v1/devices/{device}/commands", status_code=201)
    def command(actor: Who, device: str, body: CommandBody) -> dict[str, Any]:
        on(actor, "device.command", device)
        row = commander.send(device, body.action, body.arguments, actor.name, body.life_s)
        return views.command(device, row.id)

    @routes.get("/v1/devices/{device}/commands")
    def commands_of(actor: Who, device: str, limit: Limit = 100) -> list[dict[str, Any]]:
        on(actor, "device.read", device)
        return views.commands(device, limit)

    @routes.get("/v1/devices/{device}/commands/{number}")
    def command_of(actor: Who, device: str, number: Number) -> dict[str, Any]:
        on(actor, "device.read", device)
        return views.command(device, number)

    @routes.post("/v1/devices/{device}/clear-alarm")
    def clear_alarm(actor: Who, device: str, body: ReasonBody) -> dict[str, Any]:
        on(actor, "device.clear-alarm", device)
        controller.clear_alarm(device, actor.name, body.why)
        return views.device(device, actor.regions)

    @routes.post("/v1/devices/{device}/revoke")
    def revoke(actor: Who, device: str) -> dict[str, Any]:
        with database.read() as connection:
            known = devices.find(connection, device)
        # One that has a certificate and was never heard of is in no region yet: whoever has rights everywhere may.
        region = on(actor, "device.revoke", device) if known is not None else None
        if known is None:
            may(actor, "device.revoke", None)
        steps = revocation.cut_off(check_label("device", device), actor.name)
        done = "; ".join(f"{step.name}: {step.words}" for step in steps)
        with database.write() as connection:
            audit.add(connection, audit.AuditRow(clock.now(), actor.name, "device.cut-off", region, device, done))
        return {
            "device": device,
            "done": all(step.done for step in steps),
            "steps": [{"name": step.name, "done": step.done, "words": step.words} for step in steps],
        }

    @routes.get("/v1/rollouts")
    def rollouts(actor: Who, region: str | None = None, past: bool = False) -> list[dict[str, Any]]:
        if region is not None:
            may(actor, "rollout.read", region)
        return views.rollouts(region, past=past, regions=somewhere(actor, "rollout.read"))

    @routes.post("/v1/rollouts/plan")
    def plan(actor: Who, body: RolloutBody) -> dict[str, Any]:
        order = body.order()
        may_all(actor, "rollout.plan", order)
        plans = controller.plan(order)
        return {"regions": [row.to_json() for row in plans], "digest": whole_digest(plans)}

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
        return views.events(device=device, limit=limit, regions=somewhere(actor, "event.read"))

    @routes.get("/v1/releases")
    def releases(actor: Who) -> list[dict[str, Any]]:
        somewhere(actor, "release.read")
        return views.releases()

    @routes.get("/v1/audit")
    def deeds(actor: Who, limit: Limit = 100) -> list[dict[str, Any]]:
        return views.audit(limit, somewhere(actor, "audit.read"))

    return routes
