"""The routes of /v1/devices."""

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Depends, Query

from edgefleet_protocol.names import check_label

from ..regions.gone import CutOff
from ..rollouts.controller import Controller
from ..store import audit, devices
from ..store.device_list import Filter, Status
from ..views import Views
from .asking import Asking, Who, Word
from .bodies import AssignmentBody, ReasonBody
from .paging import After, Limit, page


def filter_of(
    region: Word = None,
    tag: Word = None,
    hardware: Word = None,
    status: Status | Literal[""] | None = None,
    runs: Annotated[str | None, Query(max_length=256, examples=["fashion/3"])] = None,
    text: Annotated[str | None, Query(max_length=256)] = None,
) -> Filter:
    """Return which devices are asked for.

    hardware: a hardware class; runs: a model, a release, or a release with its variant; text: in the name, the class or what runs.
    """
    return Filter(region or None, tag or None, hardware or None, status or None, runs or None, text or None)


Which = Annotated[Filter, Depends(filter_of)]


def make_device_routes(asking: Asking, controller: Controller, views: Views, revocation: CutOff) -> APIRouter:
    """Return the routes over this controller and these views."""
    routes = APIRouter()
    may, on, database = asking.may, asking.region_of, asking.database

    @routes.get("/v1/devices", name="list")
    def every(actor: Who, wish: Which, limit: Limit = 100, after: After = None) -> dict[str, Any]:
        """Devices by id."""
        if wish.region is not None:
            may(actor, "device.read", wish.region)
        regions = asking.somewhere(actor, "device.read")
        return page(views.lists.devices(wish, regions, after=after, limit=limit), limit, lambda row: str(row["id"]))

    @routes.get("/v1/devices/{device}", name="show")
    def one(actor: Who, device: str) -> dict[str, Any]:
        """One device with its whole state, as it said it."""
        on(actor, "device.read", device)
        return views.device(device, actor.regions)

    @routes.get("/v1/devices/{device}/latency", name="latency")
    def latency(
        actor: Who,
        device: str,
        last_s: Annotated[float, Query(ge=10, le=86400 * 60)] = 3600.0,
        model: Word = None,
    ) -> dict[str, Any]:
        """Its latency over time, for each model: percentiles merged from its windows."""
        on(actor, "device.read", device)
        return views.latency(device, last_s=last_s, model=model)

    @routes.put("/v1/devices/{device}/assignment", name="assign")
    def assign(actor: Who, device: str, body: AssignmentBody) -> dict[str, Any]:
        """Say where it belongs: signed, and sent to it."""
        may(actor, "device.assign", body.region)
        with database.read() as connection:
            is_known = devices.find(connection, device) is not None
        # It leaves a region too. Who has rights in some regions only takes none from another, and names none beforehand.
        if is_known or actor.regions is not None:
            on(actor, "device.assign", device)
        document = controller.assign(device, body.region, tuple(body.tags), actor.name)
        return {**msgspec.to_builtins(document), "broker_connected": views.connected}

    @routes.delete("/v1/devices/{device}", name="forget")
    def forget(actor: Who, device: str, force: bool = False) -> dict[str, Any]:
        """Remove it, and all that it said."""
        on(actor, "device.forget", device)
        controller.forget(device, actor.name, force=force)
        return {"device": device, "broker_connected": views.connected}

    @routes.post("/v1/devices/{device}/clear-alarm", name="clear_alarm")
    def clear_alarm(actor: Who, device: str, body: ReasonBody) -> dict[str, Any]:
        """Take it out of quarantine."""
        on(actor, "device.clear-alarm", device)
        controller.clear_alarm(device, actor.name, body.why)
        return views.device(device, actor.regions)

    @routes.post("/v1/devices/{device}/revoke", name="revoke")
    def revoke(actor: Who, device: str) -> dict[str, Any]:
        """Revoke its certificates and end its connection, step by step."""
        with database.read() as connection:
            known = devices.find(connection, device)
        # One that has a certificate and was never heard of is in no region yet: whoever has rights everywhere may. Others
        # are told the same of it as of one in another region.
        region = None
        if known is not None or actor.regions is not None:
            region = on(actor, "device.revoke", device)
        else:
            may(actor, "device.revoke", None)
        steps = revocation.cut_off(check_label("device", device), actor.name)
        done = "; ".join(f"{step.name}: {step.words}" for step in steps)
        with database.write() as connection:
            row = audit.AuditRow(asking.clock.now(), actor.name, "device.cut-off", region, device, done)
            audit.add(connection, row)
        return {
            "device": device,
            "done": all(step.done for step in steps),
            "steps": [{"name": step.name, "done": step.done, "words": step.words} for step in steps],
        }

    return routes
