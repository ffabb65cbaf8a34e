"""What looks at the server and its fleet from beside: rules, /metrics, readiness. Built in one place."""

from collections.abc import Callable

from edgefleet_trust.repository import Repository

from .alerts.gather import Gatherer
from .alerts.watch import Watch
from .config import ServerConfig
from .ingest.counters import Counters
from .metrics.collect import Collector
from .metrics.follow import Follower
from .readiness import Ingest, Readiness
from .rollouts.controller import Controller
from .seams import Clock
from .store.database import Database


class Watching:
    """Started after what it looks at, and stopped before."""

    def __init__(
        self,
        config: ServerConfig,
        fleet: str,
        repository: Repository,
        database: Database,
        controller: Controller,
        counters: Counters,
        clock: Clock,
        connected: Callable[[], bool],
        ingest: Ingest,
    ) -> None:
        identity = config.identity.folder if config.identity else None
        self.follower = Follower(database, clock)
        self.gatherer = Gatherer(
            database, repository, identity, self.follower, counters, clock, connected, controller.fleet
        )
        self.watch = Watch(config.alerts, self.gatherer, database, clock, counters, fleet)
        self.collector = Collector(
            fleet, database, self.follower, self.gatherer, controller, counters, clock, connected, ingest
        )
        self.readiness = Readiness(database, controller, clock, connected, config.rollouts.tick_s, ingest)

    def start(self) -> None:
        """Begin to watch."""
        self.watch.start()

    def stop(self) -> None:
        """End."""
        self.watch.stop()
