"""Everything that /metrics shows: groups of devices and the server itself, and never a series for a device.

How many series there are follows from regions, releases and variants, and not from how large the fleet is.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import __version__
from ..alerts.gather import Gatherer
from ..ingest.counters import Counters
from ..readiness import Ingest
from ..rollouts.controller import Controller
from ..seams import Clock
from ..store import alerts, rollups
from ..store.database import Database, Unavailable
from ..telemetry.drift import LEAST_SHIFT
from .follow import Follower
from .text import Family, Sample, histogram

Regions = frozenset[str] | None


class Collector:
    """Reads, and never writes."""

    def __init__(
        self,
        fleet: str,
        database: Database,
        follower: Follower,
        gatherer: Gatherer,
        controller: Controller,
        counters: Counters,
        clock: Clock,
        connected: Callable[[], bool],
        ingest: Ingest,
    ) -> None:
        self._ingest = ingest
        self._fleet, self._database = fleet, database
        self._follower, self._gatherer, self._controller = follower, gatherer, controller
        self._counters, self._clock, self._connected = counters, clock, connected

    def collect(self, regions: Regions = None) -> list[Family]:
        """Return every family; of `regions` only, where they are given, and then without the server's own.

        While the database is away, what must be read from it is left out: that it is stuck must be seen just then.
        """
        parts: list[Callable[[], Iterable[Family]]] = [
            lambda: self._devices(regions),
            lambda: self._groups(regions),
            lambda: (self._energy(regions),),
            lambda: self._drift(regions),
            lambda: (self._alerts(regions),),
        ]
        if regions is None:
            parts.insert(0, self._stored)
        families: list[Family] = []
        answers = True
        try:
            self._follower.look()
            for part in parts:
                families += part()
        except Unavailable:
            answers = False
        return families if regions is not None else [*self._server(answers), *families]

    def _server(self, answers: bool) -> Iterable[Family]:
        now = self._clock.now()
        info = Sample(1, {"version": __version__, "fleet": self._fleet})
        yield Family("edgefleet_server_info", "gauge", "The server's version.", (info,))
        yield _one("edgefleet_broker_connected", "1 while the server has its broker.", float(self._connected()))
        turned = self._controller.turned_s
        age = float("nan") if turned is None else max(0.0, now - turned)
        yield _one("edgefleet_controller_age_seconds", "Since the rollout controller last finished a look.", age)
        text = "1 while the database answers; else what is read from it is missing here."
        yield _one("edgefleet_database_answers", text, float(answers))
        stuck = "Since the database began to refuse what devices say; 0 while it takes it."
        yield _one("edgefleet_ingest_stuck_seconds", stuck, self._ingest.stuck_s)
        yield _one(
            "edgefleet_ingest_waiting_messages", "Came from the broker and not dealt with yet.", self._ingest.waiting
        )
        counts = self._counters.snapshot()
        text = "What the server took, refused and did, by the name that /healthz gives it."
        samples = tuple(Sample(count, {"name": name}) for name, count in counts.items())
        yield Family("edgefleet_server_counts_total", "counter", text, samples)
        ends = tuple(Sample(row.ends_s, {"document": row.name}) for row in self._gatherer.expiries(now))
        yield Family("edgefleet_document_end_timestamp_seconds", "gauge", "When a signed document ends.", ends)

    def _stored(self) -> Iterable[Family]:
        now = self._clock.now()
        with self._database.read() as connection:
            waiting_s = rollups.behind_s(connection, now)
        yield _one(
            "edgefleet_rollups_behind_seconds", "For how long the oldest telemetry waits to be rolled up.", waiting_s
        )
        size = self._database.size_bytes()
        yield _one("edgefleet_database_bytes", "The database with its log, on disk.", size)

    def _devices(self, regions: Regions) -> Iterable[Family]:
        known = [row for row in self._controller.fleet() if regions is None or row.region in regions]
        presence = Counter((row.region or "", "online" if row.online else "offline") for row in known)
        samples = _samples(presence, ("region", "state"))
        yield Family("edgefleet_devices", "gauge", "Devices by whether they are connected.", samples)
        yield Family(
            "edgefleet_devices_in_quarantine", "gauge", "Devices that are believed to be two.",
            _samples(Counter((row.region or "",) for row in known if row.alarm), ("region",)),
        )  # fmt: skip
        running = Counter(
            (row.region or "", model.model, model.running.release, model.running.variant, model.phase)
            for row in known
            for model in (row.state.models if row.state else ())
            if model.running is not None
        )
        samples = _samples(running, ("region", "model", "release", "variant", "phase"))
        yield Family("edgefleet_devices_running", "gauge", "Devices by what they run and how it stands there.", samples)
        current = [row for row in self._controller.current() if regions is None or row.region in regions]
        yield Family(
            "edgefleet_rollout_stage", "gauge", "The open stage of each rollout, from 0.",
            tuple(
                Sample(row.stage, {"region": row.region, "model": row.model, "release": row.release, "status": row.status})
                for row in current
            ),
        )  # fmt: skip

    def _groups(self, regions: Regions) -> Iterable[Family]:
        names = ("region", "model", "release", "variant")
        rows = [
            (dict(zip(names, group, strict=True)), total)
            for group, total in sorted(self._follower.totals().items())
            if regions is None or group[0] in regions
        ]
        requests = tuple(Sample(total.requests, labels) for labels, total in rows)
        yield Family("edgefleet_requests_total", "counter", "Answers of models, since the server started.", requests)
        errors = tuple(Sample(total.errors, labels) for labels, total in rows)
        yield Family("edgefleet_request_errors_total", "counter", "Requests that a model could not answer.", errors)
        yield Family(
            "edgefleet_latency_seconds", "histogram",
            "Of one answer in the worker. The sum is made of the buckets' middles: at most 2.2 % off.",
            tuple(sample for labels, total in rows for sample in histogram(total.latency.sketch(), labels)),
        )  # fmt: skip

    def _energy(self, regions: Regions) -> Family:
        samples = tuple(
            Sample(joules, {"region": region, "source": source})
            for (region, source), joules in sorted(self._follower.joules().items())
            if regions is None or region in regions
        )
        text = "Of whole boards, by the kind of sensor that measured it: two of them are not to be added."
        return Family("edgefleet_energy_joules_total", "counter", text, samples)

    def _drift(self, regions: Regions) -> Iterable[Family]:
        rows = [
            ({"region": row.region, "model": row.model, "release": row.release, "variant": row.variant}, row)
            for row in self._gatherer.drifts()
            if regions is None or row.region in regions
        ]
        psi = tuple(Sample(row.psi or 0.0, labels) for labels, row in rows)
        yield Family("edgefleet_drift_psi", "gauge", "How far confidence moved away from the first good day.", psi)
        limits = tuple(Sample(max(LEAST_SHIFT, row.psi_limit), labels) for labels, row in rows)
        yield Family("edgefleet_drift_psi_limit", "gauge", "Above it, it is more than chance.", limits)

    def _alerts(self, regions: Regions) -> Family:
        with self._database.read() as connection:
            opened = alerts.latest(connection, limit=10_000, regions=regions)
        counts = Counter((row.region, row.rule, row.severity) for row in opened)
        text = "Alerts that are open."
        return Family("edgefleet_alerts_open", "gauge", text, _samples(counts, ("region", "rule", "severity")))


def _one(name: str, text: str, value: float) -> Family:
    return Family(name, "gauge", text, (Sample(value),))


def _samples(counts: Mapping[Any, int], names: tuple[str, ...]) -> tuple[Sample, ...]:
    return tuple(Sample(count, dict(zip(names, key, strict=True))) for key, count in sorted(counts.items()))
