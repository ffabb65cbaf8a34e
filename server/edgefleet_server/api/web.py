"""The web application: guard, problems, routes, page."""

from fastapi import FastAPI

from .. import __version__
from ..broker.revocation import Revocation
from ..dashboard.page import mount
from ..rollouts.controller import Controller
from ..seams import Clock
from ..store.database import Database
from ..views import Views
from . import guard, problems
from .routes import make_routes


def make_app(controller: Controller, views: Views, database: Database, clock: Clock, revocation: Revocation) -> FastAPI:
    """Return the application. The interactive documentation is off: its page loads scripts from elsewhere."""
    app = FastAPI(title="EdgeFleet", version=__version__, docs_url=None, redoc_url=None)
    guard.install(app)
    problems.install(app)
    app.include_router(make_routes(controller, views, database, clock, revocation))
    mount(app)
    return app
