"""The queries behind the views of telemetry: fleet, region, release, two variants, device. All but the last read roll-ups only."""

from collections.abc import Collection

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from ..client.telemetry import (
    Boards,
    BoardSeries,
    Comparison,
    DeviceTelemetry,
    DriftView,
    FleetTelemetry,
    RegionTelemetry,
    ReleaseTelemetry,
    Side,
)
from ..errors import NotFound
from ..seams import Clock, Repository
from ..store import device_series, devices, rollup_reads
from ..store.database import Connection, Database
from ..store.drifting import Drifting, Variant
from ..store.rollup_reads import STEPS, WHOLE, Stretch
from ..store.rollups import CLASS, FLEET, REGION, REGION_VERSION, VERSION
from ..telemetry.drift import drift
from .telemetry_device import device_telemetry
from .telemetry_groups import (
    Row,
    boards,
    by,
    confidence_of,
    drift_view,
    group,
    latency_of,
    model_view,
    series,
    span_view,
)

Regions = frozenset[str] | None
"""Those that whoever asks may see; None is all."""
DAY_S = 86400.0
NO_REGION = ("",)
"""The region of what is of the whole fleet."""
Pair = tuple[str, str]
"""A release and a variant."""
VERSION_NAMES = ("model", "release", "variant")
HERE = ("region", *VERSION_NAMES)


class TelemetryViews:
    """Reads, and never writes."""

    def __init__(self, repository: Repository, database: Database, clock: Clock) -> None:
        self._repository, self._database, self._clock = repository, database, clock
        self._drifting = Drifting()

    def fleet(self, regions: Regions = None, *, last_s: float = DAY_S, model: str | None = None) -> FleetTelemetry:
        """Every model and region, with time; of `regions` only where they are given."""
        now = self._clock.now()
        (steps, whole), seen = rollup_reads.spans(now, last_s), self._regions(regions)
        with self._database.read() as connection:
            here = rollup_reads.of_models(connection, whole, REGION, seen, WHOLE, model=model)
            grain, where = (FLEET, NO_REGION) if regions is None else (REGION, seen)
            every = here
            if regions is None:
                every = rollup_reads.of_models(connection, whole, FLEET, NO_REGION, WHOLE, model=model)
            drawn = rollup_reads.of_models(connection, steps, grain, where, STEPS, model=model)
            what, over_time = self._boards(connection, steps, whole, grain, where)
        lines = by(drawn, _model)
        return FleetTelemetry(
            span=span_view(now, steps),
            models=[model_view(rows, lines.get(key, ()), ("model",)) for key, rows in by(every, _model).items()],
            regions=[
                group(rows, ("region", "model")) for rows in by(here, lambda row: (row.region, row.model)).values()
            ],
            boards=what,
            board_series=over_time,
        )

    def region(self, region: str, *, last_s: float = DAY_S, model: str | None = None) -> RegionTelemetry:
        """One region with its variants; raise NotFound for a region that is none."""
        self._check_region(region)
        now, where = self._clock.now(), (region,)
        steps, whole = rollup_reads.spans(now, last_s)
        with self._database.read() as connection:
            every = rollup_reads.of_models(connection, whole, REGION, where, WHOLE, model=model)
            drawn = rollup_reads.of_models(connection, steps, REGION, where, STEPS, model=model)
            versions = rollup_reads.of_models(connection, whole, REGION_VERSION, where, WHOLE, model=model)
            what, over_time = self._boards(connection, steps, whole, REGION, where)
            drifts = self._drifts(connection, now, where)
        lines = by(drawn, _model)
        return RegionTelemetry(
            region=region,
            span=span_view(now, steps),
            models=[
                model_view(rows, lines.get(key, ()), ("region", "model")) for key, rows in by(every, _model).items()
            ],
            variants=[group(rows, HERE, drifts.get(key)) for key, rows in by(versions, _variant).items()],
            boards=what,
            board_series=over_time,
        )

    def release(self, release: str, regions: Regions = None, *, last_s: float = DAY_S) -> ReleaseTelemetry:
        """One release, as `fashion/3`: its variants, and each region; raise NotFound for one that nobody knows."""
        now, own = self._clock.now(), {"model": release.partition("/")[0], "release": release}
        unknown = NotFound(f"there is no release {release}, and no device sent telemetry of it")
        if not is_label(own["model"]):
            raise unknown
        (steps, whole), seen = rollup_reads.spans(now, last_s), self._regions(regions)
        grain, where = (VERSION, NO_REGION) if regions is None else (REGION_VERSION, seen)
        with self._database.read() as connection:
            here = rollup_reads.of_models(connection, whole, REGION_VERSION, seen, WHOLE, **own)
            every = here
            if regions is None:
                every = rollup_reads.of_models(connection, whole, VERSION, NO_REGION, WHOLE, **own)
            drawn = rollup_reads.of_models(connection, steps, grain, where, STEPS, **own)
            drifts = self._drifts(connection, now, {row.region for row in here})
        if not every and release not in self._repository.releases():
            raise unknown
        lines = by(drawn, lambda row: row.variant)
        return ReleaseTelemetry(
            release=release,
            span=span_view(now, steps),
            variants=[
                model_view(rows, lines.get(key, ()), VERSION_NAMES)
                for key, rows in by(every, lambda row: row.variant).items()
            ],
            regions=[group(rows, HERE, drifts.get(key)) for key, rows in by(here, _variant).items()],
        )

    def compare(
        self,
        region: str,
        a: Pair | None = None,
        b: Pair | None = None,
        *,
        last_s: float = DAY_S,
        model: str | None = None,
        hardware_class: str | None = None,
    ) -> Comparison:
        """Two variants, each (release, variant), in one region; those that are not named are the busiest of the others.

        hardware_class: on these boards only; then nobody knows how many devices there were. Raises NotFound for a region that
        is none.
        """
        self._check_region(region)
        now, where = self._clock.now(), (region,)
        steps, whole = rollup_reads.spans(now, last_s)
        grain = REGION_VERSION if hardware_class is None else CLASS
        own = {"model": model, "hardware_class": hardware_class}
        columns = (*WHOLE, rollup_reads.CONFIDENCE[-1])
        with self._database.read() as connection:
            every = by(rollup_reads.of_models(connection, whole, grain, where, columns, **own), _pair)
            drawn = by(rollup_reads.of_models(connection, steps, grain, where, STEPS, **own), _pair)
            classes = by(rollup_reads.of_models(connection, whole, CLASS, where, WHOLE, **own), _pair)
            drifts = self._drifts(connection, now, where)
        busiest = [key for key in every if key not in (a, b)]
        first = a or (busiest.pop(0) if busiest else None)
        second = b or (busiest.pop(0) if busiest else None)

        def side(key: Pair | None) -> Side | None:
            if key is None or key not in every:
                return None
            rows = every[key]
            boards = by(classes.get(key, ()), lambda row: row.hardware_class)
            return Side(
                whole=group(rows, drift=drifts.get(_variant(rows[0]))),
                series=series(drawn.get(key, ())),
                classes=[group(own) for own in boards.values()],
            )

        between, ratio = None, None
        if first in every and second in every:
            ours, theirs = confidence_of(every[first]), confidence_of(every[second])
            if ours and theirs:
                between = drift_view(drift(ours.sketch(), theirs.sketch()))
            (p95_a,), (p95_b,) = latency_of(every[first]).quantiles(0.95), latency_of(every[second]).quantiles(0.95)
            ratio = p95_b / p95_a if p95_a and p95_b is not None else None
        return Comparison(
            region=region, span=span_view(now, steps), a=side(first), b=side(second), between=between, p95_ratio=ratio
        )

    def device(self, name: str, regions: Regions = None, *, last_s: float = DAY_S) -> DeviceTelemetry:
        """One device, from its own windows; raise NotFound for one that is not known in `regions`."""
        now = self._clock.now()
        with self._database.read() as connection:
            known = devices.find_in(connection, name, regions) if is_label(name) else None
            if known is None:
                raise NotFound(f"no device {name} is known. See: edgefleet device list")
            spans = device_series.spans(connection, name, since_s=now - last_s, limit=20_000)
            marks = device_series.marks(connection, name, since_s=now - last_s)
        return device_telemetry(name, known.region, now, last_s, spans.models, spans.facts, marks)

    @staticmethod
    def _boards(
        connection: Connection, steps: Stretch, whole: Stretch, grain: int, regions: Collection[str]
    ) -> tuple[Boards, BoardSeries]:
        return boards(
            rollup_reads.of_devices(connection, whole, grain, regions),
            rollup_reads.of_devices(connection, steps, grain, regions),
        )

    def _drifts(self, connection: Connection, now: float, regions: Collection[str]) -> dict[Variant, DriftView]:
        found = self._drifting.look(connection, now, regions)
        return {key: drift_view(one.drift, one.reference_s) for key, one in found.items()}

    def _regions(self, regions: Regions) -> list[str]:
        """Those whose rows may be read: "" are devices that belong to none yet."""
        return [*self._repository.regions(), ""] if regions is None else sorted(regions)

    def _check_region(self, region: str) -> None:
        if region not in self._repository.regions():
            raise NotFound(f"there is no region {region}. There are: {', '.join(self._repository.regions())}")


def is_label(name: str) -> bool:
    """Return whether `name` may name a model or a device: the database is asked of no other."""
    try:
        check_label("name", name)
    except BadName:
        return False
    return True


def _model(row: Row) -> str:
    return str(row.model)


def _pair(row: Row) -> Pair:
    return row.release, row.variant


def _variant(row: Row) -> Variant:
    return Variant(row.region, row.model, row.release, row.variant)
