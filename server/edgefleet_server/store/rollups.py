"""Telemetry on its way into the roll-ups.

`add` is part of the transaction that stores windows: it only appends one row, the whole batch, so that ingest
processes never wait for each other and a window counts exactly when it is stored. `fold` moves what was appended into the
roll-ups, also in one transaction: what crashes in between is folded later, and nothing is folded twice.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, func, insert, select

from ..telemetry.cells import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    OTHER,
    DeviceCell,
    DeviceKey,
    ModelCell,
    ModelKey,
    Spread,
    Sums,
    facts_of,
    facts_packed,
    rows_of,
    rows_packed,
    sums,
)
from . import dialect, rollups_aside
from .schema import device_rollups, devices, model_rollups, rollup_parts
from .windows import Ready

RESOLUTIONS: dict[int, int] = {0: MINUTE_S, 1: HOUR_S, 2: DAY_S}
MINUTE, HOUR, DAY = RESOLUTIONS
FLEET, REGION, VERSION, REGION_VERSION, CLASS = range(5)
"""Grains: the sums that queries ask for, each kept by itself. FLEET by model; REGION by region and model; VERSION by model,
release and variant; REGION_VERSION by region too; CLASS by hardware class too. What a grain does not tell apart is ''."""
BATCH = 500
MOST_BYTES = 4_000_000
"""To a fold, some 16,000 windows: its memory, and how long its transaction lasts, a quarter of a second."""
MOST_KINDS, MOST_CLASSES = 1000, 200
"""Of models with release, variant and class, and of classes, in one region on one day. Devices choose these names, and one that
makes up new ones without end must not fill what is kept for years: what goes beyond is counted under "other"."""
ASKED_AT_ONCE = 500
NOWHERE = ("", "")
"""Region and class of a device that was never heard of."""

ModelPlace = tuple[int, int, str, int, str, str, str, str]
DevicePlace = tuple[int, int, str, int, str]


class Folded(NamedTuple):
    """What one fold moved: how many batches, and what they counted by minute and kind."""

    batches: int
    models: dict[ModelKey, "Counted"]
    joules: dict[tuple[str, str], float]
    """By region and by what measured them."""


class Counted(NamedTuple):
    """Of one minute and kind. `latency`: a packed histogram."""

    requests: int
    errors: int
    latency: bytes


NOTHING = Folded(0, {}, {})


def add(connection: Connection, new: Sequence[Ready], now: float) -> None:
    """Count windows that are new, in the transaction that stores them. now: by the server's clock."""
    if not new:
        return
    known = _whose(connection, {one.row[0] for one in new})
    rows = [one.waiting(*known.get(one.row[0], NOWHERE)) for one in new]
    connection.execute(insert(rollup_parts).values(received_s=now, parts=rows_packed(rows)))


def _whose(connection: Connection, names: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return by device its region and hardware class, as they are now; one that was never heard of is not among them."""
    ordered, found = sorted(names), {}
    table = devices.c
    for at in range(0, len(ordered), ASKED_AT_ONCE):
        query = select(table.id, table.assigned_number, table.assigned_region, table.region, table.hardware_class)
        for row in connection.execute(query.where(table.id.in_(ordered[at : at + ASKED_AT_ONCE]))):
            found[row[0]] = (row[2] if row[1] > 0 else row[3]) or "", row[4] or ""
    return found


class Gathered(NamedTuple):
    """Batches that wait, added up and not stored yet."""

    ids: tuple[int, ...]
    models: dict[ModelPlace, ModelCell]
    boards: dict[DevicePlace, DeviceCell]
    folded: Folded


class Taken(Exception):
    """Another process folded these batches meanwhile."""


class Waiting(NamedTuple):
    """Batches that wait, the oldest first."""

    ids: tuple[int, ...]
    full: bool
    """Whether more may wait."""


def waiting(connection: Connection, limit: int = BATCH) -> Waiting:
    """Return what a fold takes: up to `limit` batches and MOST_BYTES."""
    columns = rollup_parts.c
    ids, size, full = [], 0, False
    for row in connection.execute(select(columns.id, func.length(columns.parts)).order_by(columns.id).limit(limit)):
        ids.append(row[0])
        size += row[1]
        if full := size >= MOST_BYTES or len(ids) == limit:
            break
    return Waiting(tuple(ids), full)


def gather(connection: Connection, limit: int = BATCH) -> Gathered | None:
    """Add up what waits, the oldest first; None when nothing waits. Nothing is written."""
    wait = waiting(connection, limit)
    return gather_these(connection, wait.ids) if wait.ids else None


def gather_these(connection: Connection, ids: Sequence[int]) -> Gathered:
    """Add up these batches. Raises whatever reading one of them does."""
    columns = rollup_parts.c
    rows = connection.execute(select(columns.parts).where(columns.id.in_(ids))).all()
    found = sums(one for row in rows for one in rows_of(row.parts))
    found = Sums(_bounded_models(connection, found.models), _bounded_devices(connection, found.devices))
    counted = {
        key: Counted(cell.requests, cell.errors, cell.latency.packed()) for key, cell in found.models.items()
    }  # before what was there already is added
    joules: dict[tuple[str, str], float] = {}
    for where, cell in found.devices.items():
        for source, energy in cell.facts.energy.items():
            joules[where.region, source] = joules.get((where.region, source), 0.0) + energy.joules
    return Gathered(tuple(ids), *spread(found), Folded(len(ids), counted, joules))


def put(connection: Connection, gathered: Gathered) -> int:
    """Move what was gathered into the roll-ups; once, for a transaction that ends well. Raises Taken when another did it.

    Returns how many rows that were there could not be read: they are put aside, and begin anew.
    """
    gone = delete(rollup_parts).where(rollup_parts.c.id.in_(gathered.ids))
    if connection.execute(gone).rowcount != len(gathered.ids):
        raise Taken(f"of {len(gathered.ids)} batches some are not there any more")
    return _fold_models(connection, gathered.models) + _fold_devices(connection, gathered.boards)


def fold(connection: Connection, limit: int = BATCH) -> Folded:
    """Do both in one transaction; return what was moved."""
    gathered = gather(connection, limit)
    if gathered is None:
        return NOTHING
    put(connection, gathered)
    return gathered.folded


def _bounded_models(connection: Connection, cells: dict[ModelKey, ModelCell]) -> dict[ModelKey, ModelCell]:
    """Return them with what is beyond MOST_KINDS under one name."""
    columns = model_rollups.c
    names = (columns.model, columns.release, columns.variant, columns.hardware_class)
    known: dict[tuple[str, int], set[tuple[Any, ...]]] = {}
    result: dict[ModelKey, ModelCell] = {}
    for key in sorted(cells):
        place = key.region, key.minute_s // DAY_S * DAY_S
        kinds = known.get(place)
        if kinds is None:
            kinds = known[place] = {tuple(row) for row in _of_day(connection, model_rollups, names, *place)}
        own = key
        if key[2:] not in kinds and len(kinds) >= MOST_KINDS:
            own = ModelKey(key.minute_s, key.region, OTHER, OTHER, OTHER, OTHER)
        kinds.add(own[2:])
        _take(result, own, cells[key])
    return result


def _bounded_devices(connection: Connection, cells: dict[DeviceKey, DeviceCell]) -> dict[DeviceKey, DeviceCell]:
    """Return them with what is beyond MOST_CLASSES under one name."""
    known: dict[tuple[str, int], set[str]] = {}
    result: dict[DeviceKey, DeviceCell] = {}
    for key in sorted(cells):
        place = key.region, key.minute_s // DAY_S * DAY_S
        kinds = known.get(place)
        if kinds is None:
            rows = _of_day(connection, device_rollups, (device_rollups.c.hardware_class,), *place)
            kinds = known[place] = {row[0] for row in rows}
        own = key
        if key.hardware_class not in kinds and len(kinds) >= MOST_CLASSES:
            own = DeviceKey(key.minute_s, key.region, OTHER)
        kinds.add(own.hardware_class)
        _take(result, own, cells[key])
    return result


def _take(cells: dict[Any, Any], key: Any, cell: Any) -> None:
    if key in cells:
        cells[key].merge(cell)
    else:
        cells[key] = cell


def _of_day(connection: Connection, table: Table, names: Sequence[Any], region: str, start_s: int) -> Sequence[Any]:
    columns = table.c
    query = select(*names).where(
        columns.resolution == DAY, columns.grain == CLASS, columns.region == region, columns.start_s == start_s
    )
    return connection.execute(query).all()


def behind_s(connection: Connection, now: float) -> float:
    """Return for how long the oldest batch has been waiting to be folded; 0 when none waits."""
    oldest = connection.execute(select(func.min(rollup_parts.c.received_s))).scalar()
    return 0.0 if oldest is None else max(0.0, now - oldest)


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
        "facts": facts_packed(cell.facts),
        "seen": cell.seen.packed() if place[0] != MINUTE else None,
    }


def _fold_models(connection: Connection, cells: dict[ModelPlace, ModelCell]) -> int:
    names = ("resolution", "grain", "region", "start_s", "model", "release", "variant", "hardware_class")
    aside = _merge_there(connection, model_rollups, attrgetter(*names), cells, _model_cell)
    _put(connection, model_rollups, [model_row(place, cell) for place, cell in cells.items()])
    return aside


def _fold_devices(connection: Connection, cells: dict[DevicePlace, DeviceCell]) -> int:
    names = ("resolution", "grain", "region", "start_s", "hardware_class")
    aside = _merge_there(connection, device_rollups, attrgetter(*names), cells, _device_cell)
    _put(connection, device_rollups, [device_row(place, cell) for place, cell in cells.items()])
    return aside


def _merge_there(
    connection: Connection,
    table: Table,
    place_of: Callable[[Any], Any],
    cells: dict[Any, Any],
    cell_of: Callable[[Any], Any],
) -> int:
    """Merge into `cells` what is in their places already; return how many rows could not be read."""
    aside = 0
    for row in _those_there(connection, table, cells):
        cell = cells.get(place_of(row))
        if cell is None:
            continue
        try:
            there = cell_of(row)
        except Exception as error:  # it looks at nothing but the row, so whatever it raises is the row's fault
            rollups_aside.put_row(connection, row, repr(error))
            aside += 1
        else:
            cell.merge(there)
    return aside


def _model_cell(row: Any) -> ModelCell:
    """Return the cell of a row from `model_row`."""
    cell = ModelCell()
    cell.windows, cell.requests, cell.errors = row.windows, row.requests, row.errors
    most = float(row.memory_max_bytes or 0)
    cell.memory = Spread(row.memory_windows, row.memory_sum_bytes, most, most)
    cell.latency.add_packed(row.latency)
    cell.confidence.add_packed(row.confidence)
    cell.seen.merge_packed(row.seen)
    return cell


def _device_cell(row: Any) -> DeviceCell:
    """Return the cell of a row from `device_row`."""
    cell = DeviceCell()
    cell.windows, cell.facts = row.windows, facts_of(row.facts)
    cell.seen.merge_packed(row.seen)
    return cell


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
    statement = dialect.insert(connection, table)
    fresh = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=fresh), rows)
