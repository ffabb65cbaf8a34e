"""The server: built once, from its configuration, with every part handed what it needs."""

import contextlib
from types import TracebackType

from edgefleet_protocol.topics import Topics
from edgefleet_trust.online import OnlineKeys
from edgefleet_trust.repository import Repository

from .api.alert_routes import make_alert_routes
from .api.asking import Asking
from .api.by_hand_routes import make_by_hand_routes
from .api.door import Door
from .api.group_routes import make_group_routes
from .api.hands_routes import make_hands_routes
from .api.health_routes import make_health_routes
from .api.learnt_routes import make_learnt_routes
from .api.region_routes import make_region_routes
from .api.telemetry_routes import make_telemetry_routes
from .api.web import make_app
from .beating import SERVER, Beat
from .broker import access, strangers
from .broker.keeper import ListKeeper
from .broker.revocation import Revocation
from .commanding import Commander
from .config import ServerConfig
from .errors import OpenBroker
from .http_serving import Serving
from .identity.passphrase import ca_passphrase, has_ca_passphrase
from .identity.service import Identities
from .ingest.counters import Counters
from .ingest.reading_back import ReadingBack
from .ingest.router import RETAINED_KINDS, Router
from .ingest.signed import DeviceAuthority
from .ingest.subscriptions import quiet, subscriptions
from .link.broker import Broker
from .link.tls import Tls
from .publish.publisher import Publisher
from .regions.assigning import Assigner
from .regions.current import Residency
from .regions.gone import Decommissioner, GoneWatch
from .regions.service import Regions
from .rolling import Roller
from .rollouts.controller import Controller
from .seams import Clock, WallClock
from .signer import OnlineSigner
from .store.database import Database
from .tidying import Tidier
from .views import Views
from .views.processes import every_process
from .views.telemetry_views import TelemetryViews
from .watching import Watching


class Server:
    """One fleet's server. `with Server(config, passphrase):` has everything but HTTP running; `serve` adds that."""

    def __init__(self, config: ServerConfig, passphrase: bytes, clock: Clock | None = None) -> None:
        access.check(config.broker)
        self.config = config
        self.clock = clock or WallClock()
        self.counters = Counters()
        self.repository = Repository(config.repository)
        signer = OnlineSigner(self.repository, OnlineKeys.load(config.keys, passphrase))
        self.topics = Topics(self.repository.fleet)
        self.database = Database(config.place)
        # One id for one fleet's hub: the broker keeps its queue under this name while it is away.
        filters, leave = subscriptions(self.topics, config)
        self.broker = Broker(
            config.broker.host,
            config.broker.port,
            f"edgefleet-hub-{self.topics.fleet}",
            filters,
            first=self.topics.note,
            keep=[self.topics.all_devices(kind) for kind in RETAINED_KINDS],
            on_dropped=lambda topic: self.counters.add("messages_dropped", reason=f"{topic}: too much waits already"),
            on_put_off=lambda: self.counters.add("messages_put_off"),
            leave=leave,
            quiet=quiet(self.topics, config),
            tls=Tls(config.broker.ca, config.broker.certificate, config.broker.key) if config.broker.ca else None,
            why_not=self._why_not,
            watch=self.topics.watched(whole=config.broker.open),
            on_seen=lambda topic, payload: self.publisher.seen(topic, payload),
        )
        self.list_keeper = ListKeeper(config.broker, self.clock, self.counters)
        self.revocation = Revocation(config.broker, self.broker)
        self.publisher = Publisher(
            self.broker,
            self.topics,
            self.repository,
            self.database,
            self.clock,
            self.counters,
            config.broker.retained_budget_bytes,
            fleet=lambda: self.controller.fleet(),
        )
        self.controller = Controller(
            self.repository, signer, self.database, config, self.clock, self.counters, self.publisher.look
        )
        self.residency = Residency(config)
        self.assigner = Assigner(
            self.database, self.repository, signer, self.clock, self.publisher.look, self.controller.look
        )
        self.regions = Regions(
            self.database,
            self.repository,
            config,
            self.clock,
            manifest=self.controller.manifest,
            keyids=lambda role: self.repository.current().delegated(role).keyids,
            on_change=self._regions_changed,
        )
        self.gone = GoneWatch(
            self.database, self.clock, clear=lambda topic: self.broker.publish(topic, b"", retain=True)
        )
        self.decommissioner = Decommissioner(
            self.database,
            self.topics,
            self.clock,
            self.revocation,
            self.publisher.look,
            self.controller.look,
            self.gone,
        )
        # Else the subscription brings what is retained by itself.
        self.reading_back = (
            ReadingBack(self.broker, self.topics, self.database, self.counters) if quiet(self.topics, config) else None
        )
        self.router = Router(
            self.broker,
            self.topics,
            self.database,
            self.clock,
            self.counters,
            on_change=self._changed,
            on_need=self.publisher.need,
            keep=config.longest_keep,
            authority=DeviceAuthority(config.identity.folder if config.identity else None),
            residency=self.residency,
            gone=self.gone,
            on_met=self.reading_back.met if self.reading_back is not None else lambda names: None,
        )
        self.commander = Commander(
            self.topics,
            signer,
            self.database,
            self.clock,
            publish=lambda topic, payload: self.broker.publish(topic, payload, retain=False),
            connected=lambda: self.broker.session is not None,
        )
        self.views = Views(
            self.repository,
            self.database,
            self.controller,
            self.counters,
            self.clock,
            lambda: self.broker.session,
            config.rollouts.frozen_after_s,
        )
        self.views.broker_health = self._broker_health
        asking = Asking(self.database, self.clock)
        self.watching = Watching(
            config, self.topics.fleet, self.repository, self.database, self.controller, self.counters, self.clock,
            connected=lambda: self.broker.session is not None, ingest=self.router,
        )  # fmt: skip
        self.tidier = Tidier(self.database, self.counters, self.clock, config.keep, config.region_keeps)
        self.roller = Roller(self.database, self.counters, self.watching.follower.take)
        telemetry = TelemetryViews(self.repository, self.database, self.clock)
        self.web = make_app(
            self.controller,
            self.views,
            self.database,
            self.clock,
            commander=self.commander,
            revocation=self.revocation,
            door=Door(self.database, self.clock, self.counters, open=config.http.open),
            names=(*config.http.names, config.http.host),
            telemetry=telemetry,
            secure=bool(config.http.certificate) or config.http.behind_proxy,
            more=(
                make_alert_routes(asking, self.views),
                make_region_routes(asking, self.regions),
                make_group_routes(asking, self.assigner, self.decommissioner),
                make_hands_routes(asking, self.commander),
                make_by_hand_routes(self.controller, self.views, asking),
                make_learnt_routes(self.controller, self.database, asking),
                make_health_routes(asking, self.watching.collector, self.watching.readiness),
                make_telemetry_routes(asking, telemetry),
            ),
        )
        self.beat = Beat(self.database, self.clock, SERVER, "server", self._says)
        self.views.processes = lambda: every_process(self.database, self.beat.heard)
        self.identities: Identities | None = None
        if config.enrolment.port or (config.identity is not None and has_ca_passphrase()):
            self.identities = Identities(
                config,
                self.topics.fleet,
                (config.repository / "metadata/1.root.json").read_bytes,
                ca_passphrase(),
                database=self.database,
                clock=self.clock,
                counters=self.counters,
                assign=self.controller.assign,
                on_crl=self.list_keeper.look,
            )
            self.revocation.certificates = self.identities

    def __enter__(self) -> "Server":
        # A refused release, a broken repository or an open broker should show at the start and not in a thread.
        try:
            with contextlib.suppress(ConnectionError):  # a broker that is away is judged when it comes
                if (problem := self._why_not()) is not None:
                    raise OpenBroker(problem)
            self.controller.turn()
        except BaseException:
            self.database.close()
            raise
        self.list_keeper.start()
        self.broker.start()
        self.router.start()
        if self.reading_back is not None:
            self.reading_back.start()
        self.publisher.start()
        self.controller.start()
        self.roller.start()
        self.tidier.start()
        self.watching.start()
        self.beat.start()
        if self.identities is not None:
            self.identities.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.identities is not None:
            self.identities.stop()
        self.beat.stop()
        self.watching.stop()
        self.controller.stop()
        self.publisher.stop()
        if self.reading_back is not None:
            self.reading_back.stop()
        self.router.stop()
        self.tidier.stop()
        self.roller.stop()
        self.list_keeper.stop()
        self.broker.stop()
        self.database.close()

    def serve(self) -> None:
        """Answer HTTP until SIGTERM or Ctrl-C; raise ServerError when the address is taken."""
        serving = Serving(self.web, self.config.http)
        serving.run(self, f"fleet {self.topics.fleet}", otherwise=self.database.close)

    def _why_not(self) -> str | None:
        return strangers.look(self.config.broker, self.topics)

    def _broker_health(self) -> dict[str, object]:
        """What /healthz says of the broker besides whether there is a connection."""
        return {
            "problem": self.broker.problem or self.list_keeper.problem,
            "open": self.config.broker.open,
            "revocation_list_days_left": self.list_keeper.days_left,
        }

    def _says(self) -> dict[str, object]:
        """What the processes beside this one should know of it."""
        return {
            "broker_connected": self.broker.session is not None,
            "broker": self._broker_health(),
            "address": self.config.http.address,
        }

    def _regions_changed(self) -> None:
        self.residency.forget()
        self.controller.look()

    def _changed(self) -> None:
        self.controller.look()
        self.publisher.look()
