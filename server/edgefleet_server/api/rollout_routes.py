"""The routes of /v1/rollouts."""

from typing import Any

from fastapi import APIRouter

from ..rollouts.beginning import whole_digest
from ..rollouts.controller import Controller
from ..rollouts.orders import Order
from ..store.rollouts import Status
from ..views import Views
from .actor import Action, Actor
from .asking import Asking, Number, Who, Word
from .bodies import ReasonBody, RolloutBody
from .paging import After, Limit, page, seal, unseal


def make_rollout_routes(asking: Asking, controller: Controller, views: Views) -> APIRouter:
    """Return the routes over this controller and these views."""
    routes = APIRouter()
    may = asking.may

    def may_all(actor: Actor, action: Action, order: Order) -> None:
        for region in order.regions or (None,):
            may(actor, action, region)

    def of(region: str) -> dict[str, Any]:
        return {"items": views.rollouts_of(region), "next": None}

    @routes.get("/v1/rollouts", name="list")
    def every(
        actor: Who,
        region: Word = None,
        model: Word = None,
        status: Status | None = None,
        past: bool = False,
        limit: Limit = 100,
        after: After = None,
    ) -> dict[str, Any]:
        """Rollouts, newest first; past: also those whose place another took."""
        if region is not None:
            may(actor, "rollout.read", region)
        regions, mark = asking.somewhere(actor, "rollout.read"), unseal(after, int)
        rows = views.lists.rollouts(
            regions,
            region=region,
            model=model,
            status=status,
            past=past,
            before=mark[0] if mark else None,
            limit=limit,
        )
        return page(rows, limit, lambda row: seal(row["id"]))

    @routes.post("/v1/rollouts/plan", name="plan")
    def plan(actor: Who, body: RolloutBody) -> dict[str, Any]:
        """What a rollout would do: for each device which variant, and why; it changes nothing."""
        order = body.order()
        may_all(actor, "rollout.plan", order)
        plans = controller.plan(order)
        return {"regions": [row.to_json() for row in plans], "digest": whole_digest(plans)}

    @routes.post("/v1/rollouts", status_code=201, name="start")
    def start(actor: Who, body: RolloutBody) -> dict[str, Any]:
        """Start a rollout in all its regions or, when one refuses, in none."""
        order = body.order()
        may_all(actor, "rollout.start", order)
        plans = controller.begin(order, actor.name)
        return {"regions": [row.to_json() for row in plans], "broker_connected": views.connected}

    @routes.get("/v1/rollouts/{region}", name="of_region")
    def of_region(actor: Who, region: str) -> dict[str, Any]:
        """A region's current rollout of each model."""
        may(actor, "rollout.read", region)
        return of(region)

    @routes.get("/v1/rollouts/{region}/{number:int}", name="show")
    def one(actor: Who, region: str, number: Number) -> dict[str, Any]:
        """One rollout: stages, gate, every device, every move."""
        may(actor, "rollout.read", region)
        return views.lists.rollout(region, number)

    @routes.post("/v1/rollouts/{region}/pause", name="pause")
    def pause(actor: Who, region: str, body: ReasonBody, model: Word = None) -> dict[str, Any]:
        """Hold the next stage back."""
        may(actor, "rollout.pause", region)
        controller.pause(region, model, actor.name, body.why)
        return of(region)

    @routes.post("/v1/rollouts/{region}/resume", name="resume")
    def resume(actor: Who, region: str, body: ReasonBody, model: Word = None) -> dict[str, Any]:
        """Let a paused rollout go on."""
        may(actor, "rollout.resume", region)
        controller.resume(region, model, actor.name, body.why)
        return of(region)

    @routes.post("/v1/rollouts/{region}/go-back", name="go_back")
    def go_back(actor: Who, region: str, body: ReasonBody, model: Word = None) -> dict[str, Any]:
        """Take the release back: the one before is what the region runs."""
        may(actor, "rollout.go-back", region)
        controller.go_back(region, model, actor.name, body.why)
        return of(region)

    return routes
