"""Telemetry on its way into the roll-ups.

`add` is part of the transaction that stores windows: it only appends one row, the cells of the whole batch, so that ingest
processes never wait for each other and a window counts exactly when it is stored. `fold` moves what was appended into the
roll-ups, also in one transaction: what crashes in between is folded later, and nothing is folded twice.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, insert, select, text
from sqlalchemy.dialects import postgresql, sqlite

from ..telemetry.cells import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    DeviceCell,
    DeviceFacts,
    ModelCell,
    Placed,
    Spread,
    Sums,
    decode_into,
    encode,
    sums,
)
from .schema import device_rollups, model_rollups, rollup_parts

RESOLUTIONS: dict[int, int] = {0: MINUTE_S, 1: HOUR_S, 2: DAY_S}
MINUTE, HOUR, DAY = RESOLUTIONS
FLEET, REGION, VERSION, REGION_VERSION, CLASS = range(5)
"""Grains: the sums that queries ask for, each kept by itself. FLEET by model; REGION by region and model; VERSION by model,
release and variant; REGION_VERSION by region too; CLASS by hardware class too. What a grain does not tell apart is ''."""
BATCH = 500
"""Parts to a fold: its memory and the length of its transaction."""
FOLD_LOCK = 0x45464C54
"""Of PostgreSQL's advisory locks: one process folds at a time."""

ModelPlace = tuple[int, int, str, int, str, str, str, str]
DevicePlace = tuple[int, int, str, int, str]


def add(connection: Connection, rows: Iterable[Placed]) -> None:
    """Count windows that are new, in the transaction that stores them."""
    found = sums(rows)
    if found.devices:
        connection.execute(insert(rollup_parts).values(parts=encode(found)))


def fold(connection: Connection, limit: int = BATCH) -> int:
    """Move up to `limit` batches into the roll-ups; return how many there were, 0 also while another process folds."""
    if connection.dialect.name == "postgresql" and not _is_the_one(connection):
        return 0
    rows = connection.execute(select(rollup_parts).order_by(rollup_parts.c.id).limit(limit)).all()
    if not rows:
        return 0
    found = Sums({}, {})
    for row in rows:
        decode_into(found, row.parts)
    models, devices = spread(found)
    _fold_models(connection, models)
    _fold_devices(connection, devices)
    connection.execute(delete(rollup_parts).where(rollup_parts.c.id.in_([row.id for row in rows])))
    return len(rows)


def _is_the_one(connection: Connection) -> bool:
    found = connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": FOLD_LOCK})
    return bool(found.scalar_one())


def waiting(connection: Connection) -> bool:
    """Return whether anything waits to be folded."""
    return connection.execute(select(rollup_parts.c.id).limit(1)).first() is not None


def spread(found: Sums) -> tuple[dict[ModelPlace, ModelCell], dict[DevicePlace, DeviceCell]]:
    """Return by place in the tables what cells of minutes add to each resolution and grain, each made of the next finer one."""
    models: dict[ModelPlace, ModelCell] = {}
    devices: dict[DevicePlace, DeviceCell] = {}
    for key, cell in found.models.items():
        place = (MINUTE, CLASS, key.region, key.minute_s, key.model, key.release, key.variant, key.hardware_class)
        models[place] = cell
    for where, board in found.devices.items():
        devices[MINUTE, CLASS, where.region, where.minute_s, where.hardware_class] = board
    for finer, coarser in ((MINUTE, HOUR), (HOUR, DAY)):
        _gather(models, finer, CLASS, partial(_later, coarser), ModelCell)
        _gather(devices, finer, CLASS, partial(_later, coarser), DeviceCell)
    for resolution in RESOLUTIONS:
        _gather(models, resolution, CLASS, lambda p: (p[0], REGION_VERSION, *p[2:7], ""), ModelCell)
        _gather(models, resolution, REGION_VERSION, lambda p: (p[0], VERSION, "", *p[3:7], ""), ModelCell)
        _gather(models, resolution, REGION_VERSION, lambda p: (p[0], REGION, *p[2:5], "", "", ""), ModelCell)
        _gather(models, resolution, REGION, lambda p: (p[0], FLEET, "", *p[3:5], "", "", ""), ModelCell)
        _gather(devices, resolution, CLASS, lambda p: (p[0], REGION, p[2], p[3], ""), DeviceCell)
        _gather(devices, resolution, REGION, lambda p: (p[0], FLEET, "", p[3], ""), DeviceCell)
    return models, devices


def _later(resolution: int, place: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the place of the same kind in a coarser resolution."""
    length_s = RESOLUTIONS[resolution]
    return (resolution, *place[1:3], place[3] // length_s * length_s, *place[4:])


def _gather(
    cells: dict[Any, Any], resolution: int, grain: int, to: Callable[[Any], Any], kind: Callable[[], Any]
) -> None:
    """Merge every cell of one resolution and grain into the cell at `to(place)`."""
    for place in [place for place in cells if place[:2] == (resolution, grain)]:
        target = to(place)
        (cells.get(target) or cells.setdefault(target, kind())).merge(cells[place])


def model_row(place: ModelPlace, cell: ModelCell) -> dict[str, Any]:
    """Return a cell as a row of its table."""
    names = ("resolution", "grain", "region", "start_s", "model", "release", "variant", "hardware_class")
    return {
        **dict(zip(names, place, strict=True)),
        "windows": cell.windows,
        "requests": cell.requests,
        "errors": cell.errors,
        "memory_windows": cell.memory.n,
        "memory_sum_bytes": cell.memory.sum,
        "memory_max_bytes": int(cell.memory.most) if cell.memory.n else None,
        "latency": cell.latency.packed(),
        "confidence": cell.confidence.packed() if cell.confidence else None,
        # Of minutes nobody asks how many devices there were, and it would be most of the row.
        "seen": cell.seen.packed() if place[0] != MINUTE and place[1] != CLASS else None,
    }


def device_row(place: DevicePlace, cell: DeviceCell) -> dict[str, Any]:
    """Return a cell as a row of its table."""
    names = ("resolution", "grain", "region", "start_s", "hardware_class")
    return {
        **dict(zip(names, place, strict=True)),
        "windows": cell.windows,
        "facts": msgspec.msgpack.encode(cell.facts),
        "seen": cell.seen.packed() if place[0] != MINUTE else None,
    }


def facts_of(data: bytes) -> DeviceFacts:
    """Return what boards were like, from a row."""
    return _FACTS.decode(data)


_FACTS = msgspec.msgpack.Decoder(DeviceFacts)


def _fold_models(connection: Connection, cells: dict[ModelPlace, ModelCell]) -> None:
    for row in _those_there(connection, model_rollups, cells):
        place = (
            row.resolution,
            row.grain,
            row.region,
            row.start_s,
            row.model,
            row.release,
            row.variant,
            row.hardware_class,
        )
        cell = cells.get(place)
        if cell is not None:
            cell.windows += row.windows
            cell.requests += row.requests
            cell.errors += row.errors
            most = float(row.memory_max_bytes or 0)
            cell.memory.merge(Spread(row.memory_windows, row.memory_sum_bytes, most, most))
            cell.latency.add_packed(row.latency)
            cell.confidence.add_packed(row.confidence)
            cell.seen.merge_packed(row.seen)
    _put(connection, model_rollups, [model_row(place, cell) for place, cell in cells.items()])


def _fold_devices(connection: Connection, cells: dict[DevicePlace, DeviceCell]) -> None:
    for row in _those_there(connection, device_rollups, cells):
        cell = cells.get((row.resolution, row.grain, row.region, row.start_s, row.hardware_class))
        if cell is not None:
            cell.windows += row.windows
            cell.facts.merge(facts_of(row.facts))
            cell.seen.merge_packed(row.seen)
    _put(connection, device_rollups, [device_row(place, cell) for place, cell in cells.items()])


def _those_there(connection: Connection, table: Table, places: Iterable[tuple[Any, ...]]) -> Iterable[Any]:
    """Yield the rows in every place that is named, and a few beside them: all of one region's in the same span of time."""
    spans: dict[tuple[int, int, str], set[int]] = {}
    for place in places:
        spans.setdefault(place[:3], set()).add(place[3])
    by_starts: dict[tuple[int, int, frozenset[int]], list[str]] = {}
    for (resolution, grain, region), found in spans.items():
        by_starts.setdefault((resolution, grain, frozenset(found)), []).append(region)
    columns = table.c
    for (resolution, grain, starts), regions in by_starts.items():
        yield from connection.execute(
            select(table).where(
                columns.resolution == resolution,
                columns.grain == grain,
                columns.region.in_(regions),
                columns.start_s.in_(sorted(starts)),
            )
        ).all()


def _put(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows, or write them over those of the same key."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key]
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    fresh = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh), rows)
