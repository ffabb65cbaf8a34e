"""The routes of /v1/telemetry: fleet, region, release, two variants, device."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from edgefleet_protocol.names import release_name

from ..client.types import Answer
from ..errors import BadRequest
from ..views.telemetry_views import TelemetryViews, is_label
from .asking import Asking, Who

Last = Annotated[float, Query(ge=60, le=86400 * 1100, description="how many seconds back")]
Name = Annotated[str | None, Query(max_length=256, pattern="^[^\\x00]*$")]
Number = Annotated[int, Path(ge=0, le=999_999_999)]
DAY_S = 86400.0


def make_telemetry_routes(asking: Asking, views: TelemetryViews) -> APIRouter:
    """Return the routes over these views."""
    routes = APIRouter()

    @routes.get("/v1/telemetry/fleet", name="fleet")
    def fleet(actor: Who, last_s: Last = DAY_S, model: Name = None) -> Response:
        """Every model over time, every region, and the boards. Of some regions only, for whoever has rights in some only."""
        return _answer(views.fleet(asking.somewhere(actor, "device.read"), last_s=last_s, model=model))

    @routes.get("/v1/telemetry/regions/{region}", name="region")
    def region(actor: Who, region: str, last_s: Last = DAY_S, model: Name = None) -> Response:
        """One region: its models over time, its variants with their drift, and the boards."""
        asking.may(actor, "device.read", region)
        return _answer(views.region(region, last_s=last_s, model=model))

    @routes.get("/v1/telemetry/releases/{model}/{number}", name="release")
    def release(actor: Who, model: str, number: Number, last_s: Last = DAY_S) -> Response:
        """One release: its variants over time, and each region with its drift."""
        regions = asking.somewhere(actor, "device.read")
        return _answer(views.release(release_name(model, number), regions, last_s=last_s))

    @routes.get("/v1/telemetry/compare/{region}", name="compare")
    def compare(
        actor: Who,
        region: str,
        a: Name = None,
        b: Name = None,
        last_s: Last = DAY_S,
        model: Name = None,
        hardware_class: Name = None,
    ) -> Response:
        """Two variants in one region. a, b: RELEASE:VARIANT, as in fashion/3:int8; without them the two busiest."""
        asking.may(actor, "device.read", region)
        sides = _side("a", a), _side("b", b)
        return _answer(views.compare(region, *sides, last_s=last_s, model=model, hardware_class=hardware_class))

    @routes.get("/v1/telemetry/devices/{device}", name="device")
    def device(actor: Who, device: str, last_s: Annotated[float, Query(ge=60, le=86400 * 60)] = DAY_S) -> Response:
        """One device over time: latency, memory, battery, temperature, throttling, energy, and updates."""
        if is_label(device):
            asking.region_of(actor, "device.read", device)
        return _answer(views.device(device, asking.somewhere(actor, "device.read"), last_s=last_s))

    return routes


def _side(name: str, said: str | None) -> tuple[str, str] | None:
    if said is None:
        return None
    release, colon, variant = said.rpartition(":")
    if not colon or not release or not variant:
        raise BadRequest(f"{name} is {said[:80]!r}: write RELEASE:VARIANT, as in fashion/3:int8")
    return release, variant


def _answer(found: Answer) -> Response:
    return Response(msgspec.json.encode(found), media_type="application/json")
