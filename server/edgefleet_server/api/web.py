"""The web application: address, guard, problems, keys, routes, page."""

from collections.abc import Collection

from fastapi import APIRouter, FastAPI

from .. import __version__
from ..commanding import Commander
from ..dashboard.deeds import make_deed_routes, make_door_routes
from ..dashboard.page import make_page_routes, mount
from ..dashboard.telemetry import FromWindows, Telemetry
from ..regions.gone import CutOff
from ..rollouts.controller import Controller
from ..seams import Clock
from ..store.database import Database
from ..views import Views
from . import describe, guard, problems
from .address import Versioned
from .asking import Asking
from .command_routes import make_command_routes
from .device_routes import make_device_routes
from .door import Door
from .etag import Tagged
from .fleet_routes import make_fleet_routes
from .idempotency import Idempotent
from .live_routes import make_live, make_live_routes
from .rollout_routes import make_rollout_routes


def make_app(
    controller: Controller,
    views: Views,
    database: Database,
    clock: Clock,
    *,
    commander: Commander,
    revocation: CutOff,
    door: Door,
    names: Collection[str] = (),
    more: Collection[APIRouter] = (),
    telemetry: Telemetry | None = None,
    secure: bool = False,
) -> FastAPI:
    """Return the application. The interactive documentation is off: its page loads scripts from elsewhere.

    names: hosts, beside those of loopback, that requests may be for. more: routes of further parts.
    telemetry: where the page's charts come from; secure: browsers reach this server over TLS.
    """
    app = FastAPI(
        title="EdgeFleet",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=describe.operation_id,
    )
    app.state.door = door
    # The one that is added last comes first: the address, the guard, then what looks at a request that may come in.
    app.add_middleware(Tagged)
    app.add_middleware(Idempotent, door=door, database=database, clock=clock)
    guard.install(app, names)
    app.add_middleware(Versioned)
    problems.install(app, database.outage)
    describe.install(app)
    asking = Asking(database, clock)
    app.include_router(make_fleet_routes(asking, views))
    app.include_router(make_device_routes(asking, controller, views, revocation))
    app.include_router(make_command_routes(asking, commander, views))
    app.include_router(make_rollout_routes(asking, controller, views))
    app.state.live = make_live(views, database.outage)
    app.include_router(make_live_routes(asking, views, app.state.live))
    for router in more:
        app.include_router(router)
    app.include_router(make_page_routes(asking, views, telemetry or FromWindows(views)))
    app.include_router(make_deed_routes(asking))
    app.include_router(make_door_routes(secure=secure))
    mount(app)
    return app
