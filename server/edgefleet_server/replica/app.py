"""One replica: `edgefleet server api`. It reads and writes the database of the server, and has neither keys nor a broker.

What is stored through it, the server picks up by itself: its controller moves and signs rollouts at its next look, its
publisher clears what a forgotten device left. What must be signed or sent at once is refused, see `elsewhere`.
"""

import logging
import socket
from types import TracebackType

from edgefleet_protocol.topics import Topics
from edgefleet_trust.repository import Repository

from ..api.alert_routes import make_alert_routes
from ..api.asking import Asking
from ..api.by_hand_routes import make_by_hand_routes
from ..api.door import Door
from ..api.group_routes import make_group_routes
from ..api.hands_routes import make_hands_routes
from ..api.health_routes import make_health_routes
from ..api.learnt_routes import make_learnt_routes
from ..api.region_routes import make_region_routes
from ..api.telemetry_routes import make_telemetry_routes
from ..api.web import make_app
from ..beating import Beat
from ..commanding import Commander
from ..config import ServerConfig
from ..http_serving import Serving
from ..ingest.counters import Counters
from ..regions.assigning import Assigner
from ..regions.gone import GoneWatch
from ..regions.service import Regions
from ..rollouts.controller import Controller
from ..seams import Clock, WallClock
from ..store.database import Database
from ..views import Views
from ..views.processes import every_process
from ..views.telemetry_views import TelemetryViews
from .elsewhere import Elsewhere, NoDecommissioner, NoRevocation, NoSigner
from .health import Collector, Readiness
from .main_server import MainServer

LOG = logging.getLogger(__name__)


def nothing() -> None:
    """There is nobody in this process to tell: the server looks by itself."""


class Replica:
    """Answers the API beside a server. `with Replica(config):` sees the server; `serve` adds HTTP."""

    def __init__(self, config: ServerConfig, clock: Clock | None = None) -> None:
        """config: the server's, with its own address. Raises BadConfig with SQLite, ServerError before the server made its tables."""
        self.config, self.clock, self.counters = config, clock or WallClock(), Counters()
        self.database = Database(config.place, helper="api")
        self.repository = Repository(config.repository)
        fleet = self.repository.fleet
        self.why_ended: str | None = None
        self.main = MainServer(self.database, config.http.url, self._other_form)
        elsewhere = Elsewhere(lambda: self.main.address)
        signer = NoSigner(elsewhere)
        self.controller = Controller(
            self.repository, signer, self.database, config, self.clock, self.counters, nothing, may_lead=False
        )
        regions = Regions(
            self.database,
            self.repository,
            config,
            self.clock,
            manifest=self.controller.manifest,
            keyids=lambda role: self.repository.current().delegated(role).keyids,
            on_change=nothing,
        )
        assigner = Assigner(self.database, self.repository, signer, self.clock, nothing, nothing)
        revocation = NoRevocation(elsewhere)
        decommissioner = NoDecommissioner(
            self.database, Topics(fleet), self.clock, revocation, nothing, nothing, GoneWatch(self.database, self.clock)
        )
        decommissioner.elsewhere = elsewhere
        commander = Commander(
            Topics(fleet),
            signer,
            self.database,
            self.clock,
            publish=lambda topic, payload: elsewhere.refuse("a command is sent"),
            connected=lambda: True,  # whether it can be sent is asked where it is signed, and that refuses
        )
        self.views = Views(
            self.repository,
            self.database,
            self.controller,
            self.counters,
            self.clock,
            lambda: 1 if self.main.seen.connected else None,
            config.rollouts.frozen_after_s,
        )
        self.views.broker_health = lambda: dict(self.main.seen.says.get("broker") or {})
        self.views.server_health = self._server_health
        self.views.processes = lambda: every_process(self.database, self.main.heard)
        asking = Asking(self.database, self.clock)
        telemetry = TelemetryViews(self.repository, self.database, self.clock)
        readiness = Readiness(self.database)
        self.web = make_app(
            self.controller,
            self.views,
            self.database,
            self.clock,
            commander=commander,
            revocation=revocation,
            door=Door(self.database, self.clock, self.counters, open=config.http.open),
            names=(*config.http.names, config.http.host),
            telemetry=telemetry,
            secure=bool(config.http.certificate) or config.http.behind_proxy,
            more=(
                make_alert_routes(asking, self.views),
                make_region_routes(asking, regions),
                make_group_routes(asking, assigner, decommissioner),
                make_hands_routes(asking, commander),
                make_by_hand_routes(self.controller, self.views, asking),
                make_learnt_routes(self.controller, self.database, asking),
                make_health_routes(asking, Collector(fleet, self.counters, self.main), readiness, self._without),
                make_telemetry_routes(asking, telemetry),
            ),
        )
        where = f"{config.http.host}:{config.http.port}"
        # With the machine's name: behind a balancer each listens on the same port of a machine of its own.
        name = f"api {where} on {socket.gethostname()}"
        self.beat = Beat(self.database, self.clock, name, "api", lambda: {"address": config.http.address})
        self._serving: Serving | None = None

    def __enter__(self) -> "Replica":
        self.main.start()
        self.beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.beat.stop()
        self.main.stop()
        self.database.close()

    def serve(self) -> None:
        """Answer HTTP until SIGTERM or Ctrl-C; raise ServerError when the address is taken."""
        self._serving = Serving(self.web, self.config.http)
        self._serving.run(self, f"fleet {self.views.fleet}, beside its server", otherwise=self.database.close)

    def _other_form(self, why: str) -> None:
        """The server was brought to another version: whoever keeps this process starts it anew, with the same one."""
        LOG.error("ending: %s", why)
        self.why_ended = why
        if self._serving is not None:
            self._serving.end()

    def _without(self) -> tuple[str, ...]:
        """What is missing beside this process, which answers all the same."""
        seen = self.main.seen
        if seen.away is not None:
            return ("server",)
        return () if seen.connected else ("broker",)

    def _server_health(self) -> dict[str, object]:
        seen = self.main.seen
        return {"here": seen.away is None, "why": seen.away or "", "address": self.main.address}
