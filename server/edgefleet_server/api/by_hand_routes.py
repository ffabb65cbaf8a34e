"""What a person does to a rollout, beside pausing and taking back: say yes to a stage, open the next, end it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from ..rollouts.by_hand import Hand
from ..rollouts.controller import Controller
from ..views import Views
from ..views.compared import compared_view
from .actor import Action, Actor, current_actor
from .asking import Asking
from .bodies import ReasonBody

Who = Annotated[Actor, Depends(current_actor)]


def make_by_hand_routes(controller: Controller, views: Views, asking: Asking) -> APIRouter:
    """Return the routes over this controller."""
    routes = APIRouter()

    def do(actor: Actor, action: Action, region: str, model: str | None, hand: Hand, why: str) -> dict[str, Any]:
        asking.may(actor, action, region)
        controller.by_hand(region, model, actor.name, hand, why)
        return {"items": views.rollouts_of(region), "next": None}

    @routes.post("/v1/rollouts/{region}/approve")
    def approve(actor: Who, region: str, body: ReasonBody, model: str | None = None) -> dict[str, Any]:
        return do(actor, "rollout.approve", region, model, "approve", body.why)

    @routes.post("/v1/rollouts/{region}/next")
    def open_next(actor: Who, region: str, body: ReasonBody, model: str | None = None) -> dict[str, Any]:
        return do(actor, "rollout.next", region, model, "next", body.why)

    @routes.post("/v1/rollouts/{region}/abort")
    def abort(actor: Who, region: str, body: ReasonBody, model: str | None = None) -> dict[str, Any]:
        return do(actor, "rollout.go-back", region, model, "abort", body.why)

    @routes.post("/v1/rollouts/{region}/roll-back")
    def roll_back(actor: Who, region: str, body: ReasonBody, model: str | None = None) -> dict[str, Any]:
        return do(actor, "rollout.go-back", region, model, "roll-back", body.why)

    @routes.get("/v1/rollouts/{region}/comparison")
    def comparison(actor: Who, region: str, model: str | None = None) -> dict[str, Any]:
        asking.may(actor, "rollout.read", region)
        views.rollouts_of(region)  # a region that is none is told so
        records = [row for row in controller.current(region) if model is None or row.model == model]
        rows = [
            compared_view(row, controller.pairs(row), controller.found(row), controller.later(row)) for row in records
        ]
        return {"items": rows, "next": None}

    return routes
