"""Whether a replica can do its work, and what it says of itself in /metrics: never the fleet's series, which the server gives once."""

from collections.abc import Iterable
from dataclasses import dataclass

from .. import __version__
from ..ingest.counters import Counters
from ..metrics.text import Family, Sample
from ..store.database import Database, Unavailable
from .main_server import MainServer


@dataclass(frozen=True)
class Readiness:
    """A replica answers while its database does, with the server or without."""

    database: Database

    def __call__(self) -> tuple[str, ...]:
        """Return the names of the parts that cannot work now."""
        try:
            with self.database.read() as connection:
                connection.exec_driver_sql("SELECT 1 FROM devices LIMIT 1")
        except Unavailable as error:
            self.database.outage.met("readyz", error)
            return ("database",)
        return ()


@dataclass(frozen=True)
class Collector:
    """What a replica's /metrics shows."""

    fleet: str
    counters: Counters
    main: MainServer

    def collect(self, regions: frozenset[str] | None = None) -> list[Family]:
        """Return every family; nothing for rights in some regions only."""
        return [] if regions is not None else list(self._families())

    def _families(self) -> Iterable[Family]:
        seen = self.main.seen
        info = Sample(1, {"version": __version__, "fleet": self.fleet})
        yield Family(
            "edgefleet_replica_info", "gauge", "The version of this process, which answers beside the server.", (info,)
        )
        text = "1 while the database answers this process."
        yield Family("edgefleet_replica_database_answers", "gauge", text, (Sample(float(seen.database)),))
        text = "1 while this process sees the server at work over the same database."
        yield Family("edgefleet_replica_sees_server", "gauge", text, (Sample(float(seen.away is None)),))
        counts = tuple(Sample(count, {"name": name}) for name, count in self.counters.snapshot().items())
        yield Family("edgefleet_replica_counts_total", "counter", "What this process did and refused, by name.", counts)
