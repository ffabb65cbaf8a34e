"""The queries behind the views of telemetry: fleet, region, release, two variants, device. All but the last read roll-ups only."""

from collections.abc import Collection, Sequence

from ..errors import NotFound
from ..seams import Clock, Repository
from ..store import device_series, devices, rollup_reads, telemetry
from ..store.database import Connection, Database
from ..store.drifting import Drifting, Variant
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
from .telemetry_types import (
    Comparison,
    DeviceTelemetry,
    DriftView,
    FleetTelemetry,
    RegionTelemetry,
    ReleaseTelemetry,
    Side,
)

Regions = frozenset[str] | None
"""Those that whoever asks may see; None is all."""
DAY_S = 86400.0
WHOLE = ("",)
"""The region of what is of the whole fleet."""
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
        span, seen = rollup_reads.stretch(now, last_s), self._regions(regions)
        with self._database.read() as connection:
            here = rollup_reads.of_models(connection, span, REGION, seen, model=model)
            if regions is None:
                whole = rollup_reads.of_models(connection, span, FLEET, WHOLE, model=model)
                facts = rollup_reads.of_devices(connection, span, FLEET, WHOLE)
            else:
                whole, facts = here, rollup_reads.of_devices(connection, span, REGION, seen)
        what, over_time = boards(facts)
        return FleetTelemetry(
            span=span_view(now, span),
            models=[model_view(rows, ("model",)) for rows in by(whole, lambda row: row.model).values()],
            regions=[
                group(rows, ("region", "model")) for rows in by(here, lambda row: (row.region, row.model)).values()
            ],
            boards=what,
            board_series=over_time,
        )

    def region(self, region: str, *, last_s: float = DAY_S, model: str | None = None) -> RegionTelemetry:
        """One region with its variants; raise NotFound for a region that is none."""
        self._check_region(region)
        now = self._clock.now()
        span = rollup_reads.stretch(now, last_s)
        with self._database.read() as connection:
            whole = rollup_reads.of_models(connection, span, REGION, (region,), model=model)
            versions = rollup_reads.of_models(connection, span, REGION_VERSION, (region,), model=model)
            facts = rollup_reads.of_devices(connection, span, REGION, (region,))
            drifts = self._drifts(connection, now, (region,), model)
        what, over_time = boards(facts)
        return RegionTelemetry(
            region=region,
            span=span_view(now, span),
            models=[model_view(rows, ("region", "model")) for rows in by(whole, lambda row: row.model).values()],
            variants=[
                group(rows, HERE, drifts.get(key)) for key, rows in by(versions, _variant).items()
            ],
            boards=what,
            board_series=over_time,
        )  # fmt: skip

    def release(self, release: str, regions: Regions = None, *, last_s: float = DAY_S) -> ReleaseTelemetry:
        """One release, as `fashion/3`: its variants, and each region; raise NotFound for one that nobody knows."""
        now = self._clock.now()
        span, seen, model = rollup_reads.stretch(now, last_s), self._regions(regions), release.partition("/")[0]
        with self._database.read() as connection:
            here = rollup_reads.of_models(connection, span, REGION_VERSION, seen, model=model, release=release)
            whole = here
            if regions is None:
                whole = rollup_reads.of_models(connection, span, VERSION, WHOLE, model=model, release=release)
            drifts = self._drifts(connection, now, {row.region for row in here}, model)
        if not whole and release not in self._repository.releases():
            raise NotFound(f"there is no release {release}, and no device sent telemetry of it")
        return ReleaseTelemetry(
            release=release,
            span=span_view(now, span),
            variants=[model_view(rows, VERSION_NAMES) for rows in by(whole, lambda row: row.variant).values()],
            regions=[group(rows, HERE, drifts.get(key)) for key, rows in by(here, _variant).items()],
        )

    def compare(
        self,
        region: str,
        a: tuple[str, str] | None = None,
        b: tuple[str, str] | None = None,
        *,
        last_s: float = DAY_S,
        model: str | None = None,
        hardware_class: str | None = None,
    ) -> Comparison:
        """Two variants, each (release, variant), in one region; those that are not named are the busiest of the others.

        hardware_class: on these boards only. Raises NotFound for a region that is none.
        """
        self._check_region(region)
        now = self._clock.now()
        span = rollup_reads.stretch(now, last_s)
        with self._database.read() as connection:
            rows = rollup_reads.of_models(
                connection, span, CLASS, (region,), model=model, hardware_class=hardware_class
            )
            drifts = self._drifts(connection, now, (region,), model)
            seen = rollup_reads.of_models(connection, span, REGION_VERSION, (region,), model=model)
        found = by(rows, lambda row: (row.release, row.variant))
        busiest = [key for key in found if key not in (a, b)]
        first = a or (busiest.pop(0) if busiest else None)
        second = b or (busiest.pop(0) if busiest else None)
        sides = [self._side(key, found, seen if hardware_class is None else (), drifts) for key in (first, second)]
        between, ratio = None, None
        if first in found and second in found:
            ours, theirs = confidence_of(found[first]), confidence_of(found[second])
            if ours and theirs:
                between = drift_view(drift(ours.sketch(), theirs.sketch()))
            (p95_a,), (p95_b,) = latency_of(found[first]).quantiles(0.95), latency_of(found[second]).quantiles(0.95)
            ratio = p95_b / p95_a if p95_a and p95_b is not None else None
        return Comparison(
            region=region, span=span_view(now, span), a=sides[0], b=sides[1], between=between, p95_ratio=ratio
        )

    def device(self, name: str, regions: Regions = None, *, last_s: float = DAY_S) -> DeviceTelemetry:
        """One device, from its own windows; raise NotFound for one that is not known in `regions`."""
        now = self._clock.now()
        with self._database.read() as connection:
            known = devices.find_in(connection, name, regions)
            if known is None:
                raise NotFound(f"no device {name} is known. See: edgefleet device list")
            models = telemetry.models(connection, name, since_s=now - last_s, limit=20_000)
            facts = device_series.facts(connection, name, since_s=now - last_s, limit=20_000)
            marks = device_series.marks(connection, name, since_s=now - last_s)
        return device_telemetry(name, known.region, now, last_s, models, facts, marks)

    def _side(
        self,
        key: tuple[str, str] | None,
        found: dict[tuple[str, str], list[Row]],
        seen: Sequence[Row],
        drifts: dict[Variant, DriftView],
    ) -> Side | None:
        """seen: rows that know how many devices there were; those by class do not."""
        if key is None or key not in found:
            return None
        rows = found[key]
        counted = [row for row in seen if (row.release, row.variant) == key] or rows
        first = rows[0]
        standing = drifts.get(Variant(first.region, first.model, *key))
        return Side(
            whole=group(counted, HERE, standing),
            series=series(rows),
            classes=[group(own) for own in by(rows, lambda row: row.hardware_class).values()],
        )

    def _drifts(
        self, connection: Connection, now: float, regions: Collection[str], model: str | None
    ) -> dict[Variant, DriftView]:
        found = self._drifting.look(connection, now, regions, model)
        return {key: drift_view(one.drift, one.reference_s) for key, one in found.items()}

    def _regions(self, regions: Regions) -> list[str]:
        """Those whose rows may be read: "" are devices that belong to none yet."""
        return [*self._repository.regions(), ""] if regions is None else sorted(regions)

    def _check_region(self, region: str) -> None:
        if region not in self._repository.regions():
            raise NotFound(f"there is no region {region}. There are: {', '.join(self._repository.regions())}")


def _variant(row: Row) -> Variant:
    return Variant(row.region, row.model, row.release, row.variant)
