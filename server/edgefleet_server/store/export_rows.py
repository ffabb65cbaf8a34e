"""Telemetry as an export writes it: rows in batches, from one moment of the database, however many they are."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, or_, select, true

from edgefleet_protocol.sketch import SCALE, Sketch

from ..telemetry.cells import facts_of
from ..telemetry.distinct import Seen
from ..telemetry.packed import unpack
from ..telemetry.stored import Counts, facts_told, models_told
from .rollups import CLASS, REGION, REGION_VERSION, RESOLUTIONS
from .schema import device_rollups, devices, events, model_rollups, windows

BATCH = 2_000
Row = dict[str, Any]


class Asked(NamedTuple):
    """What of a table: from_s <= t < to_s, of these regions (None: all), and never of those."""

    from_s: float
    to_s: float
    regions: tuple[str, ...] | None
    never: tuple[str, ...]
    resolution: int
    by_class: bool


def of_windows(connection: Connection, asked: Asked) -> Iterator[list[Row]]:
    """Yield each model of each window; a window without a model is a row too."""
    columns = windows.c
    query = (
        select(
            columns.device, columns.placed_s, columns.seconds, columns.facts, columns.models, _belongs().label("region")
        )
        .select_from(windows.outerjoin(devices, devices.c.id == columns.device))
        .where(columns.placed_s >= asked.from_s, columns.placed_s < asked.to_s, _may_leave(asked, _belongs()))
        .order_by(columns.placed_s)
    )
    yield from _batches(connection, query, _windows)


def of_events(connection: Connection, asked: Asked) -> Iterator[list[Row]]:
    """Yield events by when they came."""
    names = ("device", "at_s", "received_s", "kind", "text", "model", "release", "variant")
    query = (
        select(*(events.c[name] for name in names), _belongs().label("region"))
        .select_from(events.outerjoin(devices, devices.c.id == events.c.device))
        .where(
            events.c.received_s >= asked.from_s,
            events.c.received_s < asked.to_s,
            _may_leave(asked, _belongs()),
        )
        .order_by(events.c.received_s)
    )
    yield from _batches(connection, query, lambda row: [{**row._mapping, "region": row.region or ""}])


def of_rollups(connection: Connection, asked: Asked) -> Iterator[list[Row]]:
    """Yield roll-ups of models, by region and variant, or by hardware class too."""
    columns = model_rollups.c
    query = (
        select(model_rollups)
        .where(
            columns.resolution == asked.resolution,
            columns.grain == (CLASS if asked.by_class else REGION_VERSION),
            columns.start_s >= asked.from_s,
            columns.start_s < asked.to_s,
            _may_leave(asked, columns.region),
        )
        .order_by(columns.region, columns.start_s)
    )
    yield from _batches(connection, query, lambda row: [_model(row)])


def of_boards(connection: Connection, asked: Asked) -> Iterator[list[Row]]:
    """Yield what boards were like, by region, or by hardware class too."""
    yield from _batches(connection, _device_rollups(asked), lambda row: [_board(row)])


def of_energy(connection: Connection, asked: Asked) -> Iterator[list[Row]]:
    """Yield energy by region and source, or by hardware class too: a row for each source, for they are never added."""
    yield from _batches(connection, _device_rollups(asked), _energies)


def _device_rollups(asked: Asked) -> Select[Any]:
    columns = device_rollups.c
    return (
        select(device_rollups)
        .where(
            columns.resolution == asked.resolution,
            columns.grain == (CLASS if asked.by_class else REGION),
            columns.start_s >= asked.from_s,
            columns.start_s < asked.to_s,
            _may_leave(asked, columns.region),
        )
        .order_by(columns.region, columns.start_s)
    )


def _belongs() -> ColumnElement[Any]:
    return case((devices.c.assigned_number > 0, devices.c.assigned_region), else_=devices.c.region)


def _may_leave(asked: Asked, region: ColumnElement[Any]) -> ColumnElement[bool]:
    if asked.regions is not None:
        return region.in_(asked.regions)
    return or_(region.is_(None), region.not_in(asked.never)) if asked.never else true()


def _batches(connection: Connection, query: Select[Any], shown: Callable[[Any], list[Row]]) -> Iterator[list[Row]]:
    # The driver hands them over as they are read: an export may be larger than the memory.
    result = connection.execution_options(stream_results=True, yield_per=BATCH).execute(query)
    for rows in result.partitions():
        yield [one for row in rows for one in shown(row)]


def _windows(row: Any) -> list[Row]:
    facts = facts_told(row.facts)
    device = {
        "start_s": row.placed_s,
        "seconds": row.seconds,
        "device": row.device,
        "region": row.region or "",
    }
    board = {
        "agent_memory_bytes": facts.agent_memory_bytes,
        "memory_available_bytes": facts.memory_available_bytes,
        "storage_free_bytes": facts.storage_free_bytes,
        "cpu": _share(facts.cpu_percent),
        "temperature_c": facts.temperature_c,
        "battery": _share(facts.battery_percent),
        "battery_charging": facts.battery_charging,
        "power_w": facts.power_w,
        "power_source": facts.power_source,
        "throttled": None if facts.throttled is None else " ".join(facts.throttled),
    }
    return [device | _counted(counts) | board for counts in models_told(row.models)] or [device | NO_MODEL | board]


MODEL = ("model", "release", "variant", "requests", "errors", "memory_bytes")
NO_MODEL: Row = dict.fromkeys(MODEL)


def _counted(counts: Counts) -> Row:
    return {name: getattr(counts, name) for name in MODEL} | _latency(unpack(counts.latency))


def _model(row: Any) -> Row:
    names = ("region", "model", "release", "variant", "hardware_class", "windows", "requests", "errors")
    return {
        **_span(row),
        **{name: getattr(row, name) for name in names},
        "devices": _devices(row.seen),
        **_latency(unpack(row.latency)),
        "memory_mean_bytes": row.memory_sum_bytes / row.memory_windows if row.memory_windows else None,
        "memory_max_bytes": row.memory_max_bytes,
    }


def _board(row: Any) -> Row:
    facts = facts_of(row.facts)
    return {
        **_span(row),
        "region": row.region,
        "hardware_class": row.hardware_class,
        "devices": _devices(row.seen),
        "windows": row.windows,
        "cpu_mean": _share(facts.cpu_percent.mean),
        "temperature_mean_c": facts.temperature_c.mean,
        "temperature_max_c": facts.temperature_c.most if facts.temperature_c.n else None,
        "battery_mean": _share(facts.battery_percent.mean),
        "battery_least": _share(facts.battery_percent.least) if facts.battery_percent.n else None,
        "throttled_share": facts.throttled / facts.throttle_told if facts.throttle_told else None,
    }


def _energies(row: Any) -> list[Row]:
    return [
        {
            **_span(row),
            "region": row.region,
            "hardware_class": row.hardware_class,
            "power_source": source,
            "energy_j": energy.joules,
            "energy_seconds": energy.seconds,
            "requests": energy.requests,
        }
        for source, energy in sorted(facts_of(row.facts).energy.items())
    ]


def _span(row: Any) -> Row:
    return {"start_s": row.start_s, "seconds": RESOLUTIONS[row.resolution]}


def _latency(sketch: Sketch) -> Row:
    return {
        "latency_p50_s": sketch.quantile(0.5),
        "latency_p95_s": sketch.quantile(0.95),
        "latency_p99_s": sketch.quantile(0.99),
        "latency_scale": SCALE,
        "latency_zero": sketch.zero,
        "latency_offset": sketch.offset,
        "latency_counts": list(sketch.counts),
    }


def _devices(seen: bytes | None) -> int | None:
    """Return about how many; minutes and classes do not keep it."""
    if seen is None:
        return None
    found = Seen()
    found.merge_packed(seen)
    return found.estimate()


def _share(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


OF: dict[str, Callable[[Connection, Asked], Iterator[Sequence[Row]]]] = {
    "windows": of_windows,
    "rollups": of_rollups,
    "boards": of_boards,
    "energy": of_energy,
    "events": of_events,
}
