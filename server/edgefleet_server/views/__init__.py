"""What the API and the page show: plain objects, read from the database. The keys are the API's and stay."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from edgefleet_protocol.errors import ProtocolError
from edgefleet_trust.errors import TrustError

from .. import __version__
from ..errors import NotFound
from ..ingest.counters import Counters
from ..publish.behind import Published, timestamp_of
from ..rollouts.controller import Controller
from ..seams import Clock, Repository
from ..store import audit, commands, devices, events, releases, rollouts, telemetry
from ..store.database import Database
from ..store.device_list import Filter
from ..store.devices import Device
from ..store.rollouts import MoveRow, Record
from ..store.telemetry import ModelRow
from .compared import compared_view
from .device import command_view, curve, device_view
from .held import Held
from .lists import Lists
from .rollout import rollout_view

Regions = frozenset[str] | None
"""Those that whoever asks may see; None is all."""
OVERVIEW_DEVICES = 200
SLOW_S = 0.2
"""To weigh one rollout."""
LOOK_S = 1.0
"""To weigh the whole fleet takes the longer the larger it is; however many pages are open, it is done so often."""


class Views:
    """Reads, and never writes."""

    def __init__(
        self,
        repository: Repository,
        database: Database,
        controller: Controller,
        counters: Counters,
        clock: Clock,
        session: Callable[[], int | None],
        frozen_after_s: float = 600.0,
    ) -> None:
        self._repository, self._database, self._controller = repository, database, controller
        self._counters, self._clock, self._session = counters, clock, session
        self.broker_health: Callable[[], dict[str, object]] = dict
        self.server_health: Callable[[], dict[str, object]] = dict
        """Of a process beside the server: whether that one is here. Empty in the server itself."""
        self.processes: Callable[[], list[dict[str, Any]]] = list
        self._lock = threading.Lock()
        self._overviews: dict[Regions, tuple[float, dict[str, Any]]] = {}
        self._frozen_after_s = frozen_after_s
        self._published = Published()
        self._stamp = ""
        self._weighings: Held[dict[str, Any]] = Held(SLOW_S)
        self.lists = Lists(self, database, clock)

    def health(self, regions: Regions = None) -> dict[str, Any]:
        """Whether the server can do its work now; and its counters, which speak of every region, for whoever has all."""
        shown = {
            "version": __version__,
            "fleet": self._repository.fleet,
            "now_s": self._clock.now(),
            "broker_connected": self.connected,
            "broker": self.broker_health(),
            "role": "replica" if (server := self.server_health()) else "server",
            "server": server,
        }
        if regions is None:
            shown |= {"counters": self._counters.snapshot(), "last_reasons": self._counters.reasons()}
            shown["processes"] = self.processes()
        return shown

    @property
    def fleet(self) -> str:
        """The fleet's name."""
        return self._repository.fleet

    @property
    def connected(self) -> bool:
        """Whether what is signed can be sent now."""
        return self._session() is not None

    def overview(self, regions: Regions = None) -> dict[str, Any]:
        """Everything that the page shows at once; at most LOOK_S old, for every open page asks each second."""
        with self._lock:
            now = time.monotonic()
            known = self._overviews.get(regions)
            if known is None or now - known[0] >= LOOK_S:
                fresh = {key: row for key, row in self._overviews.items() if now - row[0] < LOOK_S}
                known = now, self._look(regions)
                self._overviews = {**fresh, regions: known}
            return known[1]

    def _look(self, regions: Regions) -> dict[str, Any]:
        return {
            "fleet": self._repository.fleet,
            "version": __version__,
            "now_s": self._clock.now(),
            "broker_connected": self.connected,
            "regions": [region for region in self._repository.regions() if regions is None or region in regions],
            "counts": self.lists.fleet(regions),
            # The rest is a list's work: a page of a hundred thousand devices is no overview.
            "devices": self.lists.devices(Filter(), regions, after=None, limit=OVERVIEW_DEVICES)[:OVERVIEW_DEVICES],
            "rollouts": self.rollouts(regions=regions),
            "events": self.events(limit=60, regions=regions),
            "refused": sum(n for name, n in self._counters.snapshot().items() if name.endswith("_refused"))
            if regions is None
            else 0,
        }

    def devices(self, region: str | None = None, regions: Regions = None) -> list[dict[str, Any]]:
        """Every device, by id, or those of one region; raise NotFound for a region that is none.

        regions: those that whoever asks may see; None is all.
        """
        if region is not None:
            self.check_region(region)
        with self._database.read() as connection:
            known = devices.every(connection, region, regions)
        return self.shown(known)

    def shown(self, known: Sequence[Device]) -> list[dict[str, Any]]:
        """These devices as they are listed."""
        with self._database.read() as connection:
            latest = telemetry.latest_models(connection, [device.id for device in known])
            own = {device.id: telemetry.latest_device(connection, device.id) for device in known}
        shown = [device_view(device, latest, row.facts if (row := own[device.id]) else None) for device in known]
        return [row | self._freshness(device) for row, device in zip(shown, known, strict=True)]

    def _freshness(self, device: Device) -> dict[str, Any]:
        """What the device signs of trust, against what has been out: a broker that withholds shows itself here."""
        if (stamp := self._repository.version_stamp()) != self._stamp:
            version, issued_s = timestamp_of(self._repository.metadata()["timestamp.json"])
            # What was signed before this server looked has been out since then, as far as anybody knows.
            self._published = self._published.with_version(
                version, min(issued_s or self._clock.now(), self._clock.now())
            )
            self._stamp = stamp
        said = device.state.trust.get("timestamp") if device.state else None
        behind_s = None if said is None else self._published.behind_s(said, self._clock.now())
        frozen = device.online and behind_s is not None and behind_s > self._frozen_after_s
        return {"trust_behind_s": behind_s, "frozen": frozen}

    def device(self, name: str, regions: Regions = None) -> dict[str, Any]:
        """One device with its whole state as it said it; raise NotFound for one that was never heard of."""
        with self._database.read() as connection:
            device = devices.find_in(connection, name, regions)
            if device is None:
                raise NotFound(f"no device {name} is known. See: edgefleet device list")
            latest = telemetry.latest_models(connection, [name])
            own = telemetry.latest_device(connection, name)
        shown = device_view(device, latest, own.facts if own else None) | self._freshness(device)
        shown["starts"] = [msgspec.to_builtins(row) for row in device.lineage.rows]
        shown["document"] = None if device.state_bytes is None else json.loads(device.state_bytes)
        shown["dropped_windows"] = device.dropped_windows
        return shown

    def latency(self, name: str, *, last_s: float, model: str | None) -> dict[str, Any]:
        """A device's latency over time: for each model points of (at_s, p50_s, p95_s), merged from its windows."""
        now = self._clock.now()
        with self._database.read() as connection:
            if devices.find(connection, name) is None:
                raise NotFound(f"no device {name} is known. See: edgefleet device list")
            rows = telemetry.models(connection, name, since_s=now - last_s, model=model)
        by_model: dict[str, list[ModelRow]] = {}
        for row in rows:
            by_model.setdefault(row.model, []).append(row)
        return {
            "device": name,
            "now_s": now,
            "last_s": last_s,
            "models": [curve(model, rows, last_s) for model, rows in sorted(by_model.items())],
        }

    def rollouts(
        self, region: str | None = None, *, past: bool = False, regions: Regions = None
    ) -> list[dict[str, Any]]:
        """The current rollout of each region and model, the one moved last first; with `past`, also earlier ones."""
        if region is not None:
            self.check_region(region)
        with self._database.read() as connection:
            records = rollouts.every(connection, region) if past else rollouts.current(connection, region)
        shown = self.weighed([record for record in records if regions is None or record.region in regions])
        return sorted(shown, key=lambda row: (row["region"], row["model"], -row["id"]))

    def weighed(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """These rollouts as they are shown: each with what every device of its region is to it."""
        with self._database.read() as connection:
            histories = {record.id: rollouts.history(connection, record.id) for record in records}
        return [self._weighed(record, histories[record.id]) for record in records]

    def _weighed(self, record: Record, history: tuple[MoveRow, ...]) -> dict[str, Any]:
        """Weigh a rollout; in a large fleet that takes long. One that moved is weighed anew."""
        key = (record.id, record.status, record.stage, record.why, record.updated_s, len(history))
        return self._weighings.get(key, lambda: rollout_view(self._controller, record, history))

    def comparison(self, region: str, number: int) -> dict[str, Any] | None:
        """Return the two models of a rollout on the same devices; None where its open stage does not ask, or it is past."""
        with self._database.read() as connection:
            record = next((row for row in rollouts.current(connection, region) if row.id == number), None)
        if record is None or record.assignment.stages[record.stage].gate.not_worse is None:
            return None
        try:
            return compared_view(
                record, self._controller.pairs(record), self._controller.found(record), self._controller.later(record)
            )
        except (TrustError, ProtocolError):
            return None  # a release that cannot be read: the record's reason says so

    def rollouts_of(self, region: str) -> list[dict[str, Any]]:
        """The rollouts of one region; raise NotFound for a region that is none."""
        return self.rollouts(region)

    def commands(self, name: str, limit: int) -> list[dict[str, Any]]:
        """Commands to a device, newest first."""
        with self._database.read() as connection:
            rows = commands.latest(connection, name, limit)
        return [command_view(row, self._clock.now()) for row in rows]

    def command(self, name: str, number: int) -> dict[str, Any]:
        """One command and its answer; raise NotFound for an id that no command to this device has."""
        with self._database.read() as connection:
            row = commands.find(connection, name, number)
        if row is None:
            raise NotFound(f"no command {number} was sent to {name}")
        return command_view(row, self._clock.now())

    def events(self, *, device: str | None = None, limit: int = 100, regions: Regions = None) -> list[dict[str, Any]]:
        """Events, newest first."""
        with self._database.read() as connection:
            rows = events.latest(connection, device=device, limit=limit, regions=regions)
        return [msgspec.to_builtins(row) for row in rows]

    def releases(self) -> list[dict[str, Any]]:
        """Listed releases with their variants."""
        with self._database.read() as connection:
            seen = releases.seen(connection)
        shown = []
        for name, ref in sorted(self._repository.releases().items()):
            release = self._controller.manifest(ref)
            shown.append(
                {
                    "release": name,
                    "sha256": ref.sha256,
                    "seen_s": seen.get(name),
                    "notes": release.notes,
                    "original_accuracy": release.original_accuracy.value if release.original_accuracy else None,
                    "variants": [
                        {
                            "name": variant.name,
                            "accuracy": variant.accuracy.value,
                            "metric": variant.accuracy.metric,
                            "bytes": variant.bytes,
                            "wire_bytes": release.wire_bytes(variant),
                            "memory_bytes": variant.requires.memory_bytes,
                            "recipe": variant.recipe,
                        }
                        for variant in release.variants
                    ],
                }
            )
        return shown

    def audit(self, limit: int = 100, regions: Regions = None) -> list[dict[str, Any]]:
        """Who did what, newest first."""
        with self._database.read() as connection:
            return [msgspec.to_builtins(row) for row in audit.latest(connection, limit, regions)]

    def check_region(self, region: str) -> None:
        """Return for a region that there is; raise NotFound otherwise, naming those that there are."""
        if region not in self._repository.regions():
            raise NotFound(f"there is no region {region}. There are: {', '.join(self._repository.regions())}")
