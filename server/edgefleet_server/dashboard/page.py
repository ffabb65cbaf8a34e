"""The pages for people. Each is whole as the server sends it, with what whoever looks may see; a script only keeps it fresh."""

from pathlib import Path
from typing import Any

import jinja2
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

from .. import __version__
from ..api.actor import Actor
from ..api.asking import Asking, Number, Who, Word
from ..api.device_routes import Which
from ..api.fleet_routes import event_mark
from ..api.paging import After, page, seal, unseal
from ..errors import BadRequest
from ..store.device_list import Filter
from ..store.events import EventRow
from ..store.rollouts import Status
from ..views import Views
from . import charts, figures, words
from .charts import Mark
from .sight import SPANS, Last, Sight, link
from .telemetry import Telemetry

HERE = Path(__file__).parent
ROWS = 50
EVIDENCE = 500


def environment() -> jinja2.Environment:
    """Return the templates with the words that they use. What devices say is text: everything is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(words=words, version=__version__, spans=tuple(SPANS), stamp=charts.stamp)
    return made


class Pages:
    """Makes pages."""

    def __init__(self, asking: Asking, views: Views, telemetry: Telemetry) -> None:
        self.asking, self.views, self.telemetry = asking, views, telemetry
        self.templates = environment()

    def html(self, request: Request, actor: Actor, name: str, **facts: Any) -> HTMLResponse:
        """Return the page `name`."""
        sight = Sight(actor)
        shown = self.templates.get_template(f"{name}.html").render(
            request=request,
            path=request.url.path,
            link=lambda **changes: link(request, **changes),
            sight=sight,
            actor=actor,
            fleet_name=self.views.fleet,
            connected=self.views.connected,
            server_away=self.views.server_health().get("why") or "",
            now=self.asking.clock.now(),
            alerts_open=len(self.alerts(actor)) if sight.may("alert.read") else 0,
            **{"region": None, "last": None, **facts},
        )
        return HTMLResponse(shown)

    def alerts(self, actor: Actor, **more: Any) -> list[dict[str, Any]]:
        """Return open alerts that may be seen."""
        return (
            self.views.lists.alerts(actor.regions, **{"limit": 100, **more}) if Sight(actor).may("alert.read") else []
        )

    def rollouts(self, actor: Actor, region: str | None = None) -> list[dict[str, Any]]:
        """Return current rollouts that may be seen, weighed."""
        if not Sight(actor).may("rollout.read"):
            return []
        return sorted(
            self.views.lists.rollouts(actor.regions, region=region, limit=ROWS),
            key=lambda row: (row["region"], row["model"]),
        )

    def events(self, actor: Actor, limit: int = 20, **more: Any) -> list[EventRow]:
        """Return the newest events that may be seen."""
        return (
            list(self.views.lists.events(actor.regions, limit=limit, **more))[:limit]
            if Sight(actor).may("event.read")
            else []
        )

    def budgets(self, region: str | None) -> dict[str, float | None]:
        """Return each model's latency budget in a region."""
        return {
            row["model"]: row["latency_budget_s"]
            for row in self.views.lists.current_rollouts()
            if row["region"] == region
        }


def make_page_routes(asking: Asking, views: Views, telemetry: Telemetry) -> APIRouter:
    """Return the routes of the pages."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    pages = Pages(asking, views, telemetry)

    @routes.get("/")
    def fleet(request: Request, actor: Who, last: Last = "24h") -> HTMLResponse:
        regions = asking.somewhere(actor, "device.read")
        counted = telemetry.fleet(regions, last_s=SPANS[last])
        by_region: dict[str, list[Any]] = {}
        for row in counted.regions if counted else ():
            by_region.setdefault(row.region, []).append(row)
        return pages.html(
            request,
            actor,
            "fleet",
            last=last,
            counts=views.lists.fleet(regions),
            telemetry=counted,
            by_region=by_region,
            charts=figures.of_group(counted) if counted else [],
            rollouts=pages.rollouts(actor),
            alerts=pages.alerts(actor),
            events=pages.events(actor),
        )

    @routes.get("/regions/{region}")
    def one_region(request: Request, actor: Who, region: str, last: Last = "24h") -> HTMLResponse:
        asking.may(actor, "device.read", region)
        views.check_region(region)
        counted = telemetry.region(region, last_s=SPANS[last])
        wish = Filter(region=region)
        only = frozenset({region})
        return pages.html(
            request,
            actor,
            "region",
            region=region,
            last=last,
            counts=views.lists.fleet(only)["total"],
            devices=views.lists.devices(wish, only, after=None, limit=10)[:10],
            telemetry=counted,
            charts=figures.of_group(counted, pages.budgets(region)) if counted else [],
            rollouts=pages.rollouts(actor, region),
            alerts=pages.alerts(actor, region=region),
            events=pages.events(actor, region=region),
        )

    @routes.get("/regions/{region}/compare")
    def compare(
        request: Request, actor: Who, region: str, a: Word = None, b: Word = None, last: Last = "24h"
    ) -> HTMLResponse:
        asking.may(actor, "device.read", region)
        views.check_region(region)
        compared = telemetry.compare(region, variant_of(a), variant_of(b), last_s=SPANS[last])
        known = telemetry.region(region, last_s=SPANS[last])
        return pages.html(
            request,
            actor,
            "compare",
            region=region,
            last=last,
            compared=compared,
            names=[f"{row.release}:{row.variant}" for row in known.variants] if known else [],
            charts=figures.of_two(compared) if compared else [],
        )

    @routes.get("/devices")
    def devices(request: Request, actor: Who, wish: Which, after: After = None) -> HTMLResponse:
        if wish.region is not None:
            asking.may(actor, "device.read", wish.region)
        regions = asking.somewhere(actor, "device.read")
        rows = views.lists.devices(wish, regions, after=after, limit=ROWS)
        return pages.html(
            request,
            actor,
            "devices",
            region=wish.region,
            wish=wish,
            counts=views.lists.fleet(regions),
            total=views.lists.count(wish, regions),
            listed=page(rows, ROWS, lambda row: str(row["id"])),
        )

    @routes.get("/devices/{device}")
    def one_device(request: Request, actor: Who, device: str, last: Last = "24h") -> HTMLResponse:
        region = asking.region_of(actor, "device.read", device)
        row = views.device(device, actor.regions)
        measured = telemetry.device(device, actor.regions, last_s=SPANS[last])
        happened = pages.events(actor, limit=ROWS, device=device)
        marks = figures.update_marks(measured.marks or happened)
        return pages.html(
            request,
            actor,
            "device",
            region=region,
            last=last,
            device=row,
            telemetry=measured,
            marks=marks,
            charts=figures.of_device(measured, marks, pages.budgets(region)),
            alerts=[one for one in pages.alerts(actor) if device in one["examples"]],
            events=happened,
        )

    @routes.get("/rollouts")
    def rollouts(
        request: Request,
        actor: Who,
        region: Word = None,
        model: Word = None,
        status: Status | None = None,
        past: bool = False,
        after: After = None,
    ) -> HTMLResponse:
        if region:
            asking.may(actor, "rollout.read", region)
        regions, mark = asking.somewhere(actor, "rollout.read"), unseal(after, int)
        rows = views.lists.rollouts(
            regions,
            region=region or None,
            model=model or None,
            status=status,
            past=past,
            before=mark[0] if mark else None,
            limit=ROWS,
        )
        listed = page(rows, ROWS, lambda row: seal(row["id"]))
        return pages.html(request, actor, "rollouts", region=region or None, listed=listed, past=past, status=status)

    @routes.get("/rollouts/{region}/{number:int}")
    def one_rollout(request: Request, actor: Who, region: str, number: Number, last: Last = "24h") -> HTMLResponse:
        asking.may(actor, "rollout.read", region)
        row = views.lists.rollout(region, number)
        counted = (
            telemetry.region(region, last_s=SPANS[last], model=row["model"])
            if Sight(actor).may("device.read")
            else None
        )
        budgets = {row["model"]: row["policy"].get("latency_budget_s")}
        marks = [Mark(move["at_s"], f"{move['kind']}, stage {move['stage'] + 1}") for move in row["moves"]]
        drawn = (
            [figures.latency(model, counted.span, marks, budgets[row["model"]]) for model in counted.models]
            if counted
            else []
        )
        return pages.html(
            request,
            actor,
            "rollout",
            region=region,
            last=last,
            rollout=row,
            compared=views.comparison(region, number),
            most=EVIDENCE,
            telemetry=counted,
            charts=[chart for chart in drawn if chart],
        )

    @routes.get("/alerts")
    def alerts(
        request: Request, actor: Who, region: Word = None, past: bool = False, after: After = None
    ) -> HTMLResponse:
        if region:
            asking.may(actor, "alert.read", region)
        regions, mark = asking.somewhere(actor, "alert.read"), unseal(after, float, int)
        rows = views.lists.alerts(regions, past=past, region=region or None, before=mark, limit=ROWS)
        listed = page(rows, ROWS, lambda row: seal(row["opened_s"], row["id"]))
        return pages.html(request, actor, "alerts", region=region or None, listed=listed, past=past)

    @routes.get("/events")
    def events(
        request: Request,
        actor: Who,
        device: Word = None,
        region: Word = None,
        kind: Word = None,
        after: After = None,
    ) -> HTMLResponse:
        if region:
            asking.may(actor, "event.read", region)
        regions, mark = asking.somewhere(actor, "event.read"), unseal(after, float, int, str, str)
        rows = views.lists.events(
            regions,
            device=device or None,
            region=region or None,
            kind=kind or None,
            before=mark,
            limit=ROWS,
        )
        listed = page(rows, ROWS, event_mark)
        return pages.html(request, actor, "events", region=region or None, listed=listed, device=device, kind=kind)

    @routes.get("/releases")
    def releases(request: Request, actor: Who) -> HTMLResponse:
        asking.somewhere(actor, "release.read")
        return pages.html(request, actor, "releases", releases=list(reversed(views.releases())))

    return routes


def variant_of(said: str | None) -> tuple[str, str] | None:
    """Return the release and variant of `fashion/3:int8`; raise BadRequest for what is none."""
    if not said:
        return None
    release, colon, variant = said.rpartition(":")
    if not colon or not release or not variant:
        raise BadRequest(f"{said[:80]!r} is no variant of a release: write it as fashion/3:int8")
    return release, variant


def mount(app: FastAPI) -> None:
    """Add the pages' files, and the page for what cannot be shown."""
    templates = environment()
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")

    def problem_page(request: Request, said: dict[str, Any]) -> Response:
        name = "sign_in" if said["status"] == 401 else "problem"
        shown = templates.get_template(f"{name}.html").render(
            problem=said, path=link(request), sight=None, actor=None, region=None, last=None
        )
        headers = {"WWW-Authenticate": 'Bearer realm="edgefleet"'} if said["status"] == 401 else {}
        return HTMLResponse(shown, said["status"], headers=headers)

    app.state.problem_page = problem_page
