"""What a page can do: sign in and out, take an alert, silence it. Plain forms, so that it works without a script.

A form goes out with the browser's own word from which page it comes (Origin), which the guard compares; the cookie is sent to
no request that another site began.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from ..alerts.judge import Alert
from ..api.actor import COOKIE, Actor
from ..api.asking import Asking, Number, Who
from ..errors import NotFound, NoToken, Refused
from ..store import alerts
from .sight import back, form

Form = Annotated[dict[str, str], Depends(form)]
HOUR_S = 3600.0
SPANS = {"1h": HOUR_S, "8h": 8 * HOUR_S, "24h": 24 * HOUR_S, "7d": 7 * 24 * HOUR_S}


def make_deed_routes(asking: Asking) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(include_in_schema=False)
    database, clock = asking.database, asking.clock

    def held(actor: Actor, number: int) -> Alert:
        regions = asking.somewhere(actor, "alert.hold")
        with database.read() as connection:
            found = alerts.find(connection, number, regions)
        if found is None:
            raise NotFound(f"there is no alert {number}")
        if found.status == "resolved":
            raise Refused(f"alert {number} is resolved already: there is nothing to take or to silence")
        return found

    @routes.post("/alerts/{number}/acknowledge")
    def acknowledge(request: Request, actor: Who, number: Number, fields: Form) -> Response:
        found = held(actor, number)
        with database.write() as connection:
            alerts.acknowledge(connection, number, actor.name, clock.now())
        asking.deed(actor, "alert.hold", found.region or None, f"{number} {found.rule}", "acknowledged on the page")
        return RedirectResponse(back(request, fields.get("back")), 303)

    @routes.post("/alerts/{number}/silence")
    def silence(request: Request, actor: Who, number: Number, fields: Form) -> Response:
        found, span = held(actor, number), fields.get("for", "1h")
        seconds = SPANS.get(span, HOUR_S)
        with database.write() as connection:
            alerts.silence(connection, number, actor.name, clock.now() + seconds)
        said = f"silenced for {seconds:g} s on the page"
        asking.deed(actor, "alert.hold", found.region or None, f"{number} {found.rule}", said)
        return RedirectResponse(back(request, fields.get("back")), 303)

    return routes


def make_door_routes(*, secure: bool) -> APIRouter:
    """Return the routes by which a browser comes in and leaves. secure: the cookie goes over TLS only."""
    routes = APIRouter(include_in_schema=False)

    @routes.post("/sign-in")
    def sign_in(request: Request, fields: Form) -> Response:
        secret = fields.get("token", "").strip()
        if not secret:
            raise NoToken("no token was sent")
        request.app.state.door.who(f"Bearer {secret}")
        answer = RedirectResponse(back(request, fields.get("back")), 303)
        # Of this session of the browser only; the token itself says when it ends, and it is looked up each time.
        answer.set_cookie(COOKIE, secret, httponly=True, samesite="strict", secure=secure, path="/")
        return answer

    @routes.post("/sign-out")
    def sign_out(request: Request) -> Response:
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=secure)
        return answer

    return routes
