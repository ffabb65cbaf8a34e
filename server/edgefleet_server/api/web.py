"""The web application: guard, problems, routes, page."""

from collections.abc import Collection

from fastapi import APIRouter, FastAPI

from .. import __version__
from ..broker.revocation import Revocation
from ..commanding import Commander
from ..dashboard.page import mount
from ..rollouts.controller import Controller
from ..seams import Clock
from ..store.database import Database
from ..views import Views
from . import guard, problems
from .door import Door
from .routes import make_routes


def make_app(
    controller: Controller,
    views: Views,
    database: Database,
    clock: Clock,
    *,
    commander: Commander,
    revocation: Revocation,
    door: Door,
    names: Collection[str] = (),
    more: Collection[APIRouter] = (),
) -> FastAPI:
    """Return the application. The interactive documentation is off: its page loads scripts from elsewhere.

    names: hosts, beside those of loopback, that requests may be for. more: routes of further parts.
    """
    app = FastAPI(title="EdgeFleet", version=__version__, docs_url=None, redoc_url=None)
    app.state.door = door
    guard.install(app, names)
    problems.install(app)
    app.include_router(make_routes(controller, views, database, clock, commander, revocation))
    for router in more:
        app.include_router(router)
    mount(app)
    return app
