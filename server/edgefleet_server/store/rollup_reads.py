"""Roll-ups as queries read them: the rows of one grain over a stretch of time, and the first good day of a variant."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Table, select

from .rollups import CLASS, DAY, HOUR, MINUTE, REGION_VERSION, RESOLUTIONS
from .schema import device_rollups, model_rollups

SHORT_S, MIDDLE_S, LONG_S = 6 * 3600, 2 * 86400, 16 * 86400


class Stretch(NamedTuple):
    """From from_s on, up to to_s and without it, in steps of a resolution."""

    resolution: int
    from_s: int
    to_s: int

    @property
    def step_s(self) -> int:
        """How long a step is."""
        return RESOLUTIONS[self.resolution]


class Spans(NamedTuple):
    """One stretch of time twice: in the steps that are drawn, and in the longest that fill it too, for what has no steps."""

    steps: Stretch
    whole: Stretch


def spans(now: float, last_s: float) -> Spans:
    """Return the last `last_s`, at most some 400 steps: minutes up to 6 hours, hours up to 16 days, then days.

    It begins with an hour, and with a day (UTC) when it is longer than two.
    """
    fine = MINUTE if last_s <= SHORT_S else HOUR if last_s <= LONG_S else DAY
    coarse = HOUR if last_s <= MIDDLE_S else DAY
    whole_s, step_s = RESOLUTIONS[coarse], RESOLUTIONS[fine]
    from_s = int((now - last_s) // whole_s) * whole_s
    return Spans(
        Stretch(fine, from_s, int(now // step_s) * step_s + step_s),
        Stretch(coarse, from_s, int(now // whole_s) * whole_s + whole_s),
    )


_NAMES = ("region", "start_s", "model", "release", "variant", "hardware_class", "requests", "errors", "latency")
STEPS = tuple(model_rollups.c[name] for name in _NAMES)
"""What is drawn."""
WHOLE = (
    *STEPS,
    *(model_rollups.c[name] for name in ("windows", "memory_windows", "memory_sum_bytes", "memory_max_bytes", "seen")),
)
CONFIDENCE = tuple(model_rollups.c[name] for name in ("region", "start_s", "model", "release", "variant", "confidence"))


def of_models(
    connection: Connection,
    span: Stretch,
    grain: int,
    regions: Collection[str],
    columns: Sequence[Column[Any]],
    **where: str | None,
) -> Sequence[Any]:
    """Return rows of `model_rollups`, of each region oldest first. where: further columns and their values; None is any."""
    return _rows(connection, model_rollups, span, grain, regions, columns, where)


def of_devices(connection: Connection, span: Stretch, grain: int, regions: Collection[str]) -> Sequence[Any]:
    """Return rows of `device_rollups`, of each region oldest first."""
    return _rows(connection, device_rollups, span, grain, regions, tuple(device_rollups.c), {})


def days_of(connection: Connection, region: str, model: str, release: str, variant: str, limit: int) -> Sequence[Any]:
    """Return the first days of a variant in a region: start_s, requests, errors, confidence; oldest first."""
    columns = model_rollups.c
    query = select(columns.start_s, columns.requests, columns.errors, columns.confidence).where(
        columns.resolution == DAY,
        columns.grain == REGION_VERSION,
        columns.region == region,
        columns.model == model,
        columns.release == release,
        columns.variant == variant,
    )
    return connection.execute(query.order_by(columns.start_s).limit(limit)).all()


def recent(connection: Connection, since_s: float) -> Sequence[Any]:
    """Return the minutes of every region and variant from `since_s` on."""
    columns = model_rollups.c
    query = select(*STEPS).where(columns.resolution == MINUTE, columns.grain == REGION_VERSION)
    found: list[Any] = []
    for region in regions_of(connection, model_rollups, MINUTE, REGION_VERSION):
        found += connection.execute(query.where(columns.region == region, columns.start_s >= since_s - 60)).all()
    return found


def by_class(connection: Connection, resolution: int, since_s: float) -> Sequence[Any]:
    """Return every kind of every region, by hardware class too, in the spans of one resolution that end after `since_s`."""
    columns = model_rollups.c
    found: list[Any] = []
    query = select(model_rollups).where(columns.resolution == resolution, columns.grain == CLASS)
    for region in regions_of(connection, model_rollups, resolution, CLASS):
        started = columns.start_s > since_s - RESOLUTIONS[resolution]
        found += connection.execute(query.where(columns.region == region, started)).all()
    return found


def regions_of(connection: Connection, table: Table, resolution: int, grain: int) -> list[str]:
    """Return the regions that have rows: a step through the key for each, where DISTINCT would read every row."""
    columns, found = table.c, []
    query = select(columns.region).where(columns.resolution == resolution, columns.grain == grain)
    query = query.order_by(columns.region).limit(1)
    row = connection.execute(query).first()
    while row is not None:
        found.append(str(row[0]))
        row = connection.execute(query.where(columns.region > row[0])).first()
    return found


def _rows(
    connection: Connection,
    table: Table,
    span: Stretch,
    grain: int,
    regions: Collection[str],
    columns: Sequence[Column[Any]],
    where: dict[str, str | None],
) -> Sequence[Any]:
    # The regions by name: they come before the time in the key, and without them every day that is kept would be read.
    conditions: list[ColumnElement[bool]] = [
        table.c.resolution == span.resolution,
        table.c.grain == grain,
        table.c.region.in_(sorted(regions)),
        table.c.start_s >= span.from_s,
        table.c.start_s < span.to_s,
    ]
    conditions += [table.c[name] == value for name, value in where.items() if value is not None]
    return connection.execute(select(*columns).where(*conditions)).all()
