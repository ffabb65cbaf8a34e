"""Windows as they come in, many at once, each once: (device, boot, started_monotonic_s) names a window, whatever is sent again."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import ceil
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, delete

from edgefleet_protocol.sketch import PER_DOUBLING, Sketch
from edgefleet_protocol.telemetry import ModelWindow, Window

from . import windows_postgresql, windows_sqlite
from .schema import model_windows, windows

Key = tuple[str, str, float]
"""Device, boot, started_monotonic_s."""


class Placed(NamedTuple):
    """A window, and where on the server's time line it lies."""

    device: str
    window: Window
    placed_s: float
    by_arrival: bool = False
    """Its own clock could not be believed: sent again, it would lie elsewhere."""

    @property
    def key(self) -> Key:
        """What names it."""
        return self.device, self.window.boot, self.window.started_monotonic_s


_encode = msgspec.json.Encoder().encode


class Ready(NamedTuple):
    """A window as the rows that it will be."""

    placed: Placed
    row: tuple[Any, ...]
    models: list[tuple[Any, ...]]


def ready(placed: Placed, now: float) -> Ready:
    """Return the rows of a window that came `now`. Looks at nothing else, so it can be done before the database is asked."""
    return Ready(placed, _device_row(placed, now), _model_rows(placed))


def keep(connection: Connection, some: Sequence[Ready]) -> list[Placed]:
    """Keep windows; return those that were not there yet, in their order. Of two with one name the first counts."""
    by_key: dict[Key, Ready] = {}
    for one in some:
        by_key.setdefault(one.row[:3], one)
    if not by_key:
        return []
    store = windows_postgresql if connection.dialect.name == "postgresql" else windows_sqlite
    coming = list(by_key.values())
    new = store.add_windows(connection, [one.row for one in coming], [one.placed.by_arrival for one in coming])
    found = [one for one, is_new in zip(coming, new, strict=True) if is_new]
    store.add_models(connection, [row for one in found for row in one.models])
    return [one.placed for one in found]


def add(connection: Connection, placed: Sequence[Placed], now: float) -> list[Placed]:
    """The same, in one go."""
    return keep(connection, [ready(one, now) for one in placed])


def known(connection: Connection, keys: Sequence[Key]) -> set[Key]:
    """Return those of `keys` whose window is kept."""
    if connection.dialect.name == "postgresql":
        return windows_postgresql.known(connection, keys)
    return windows_sqlite.known(connection, keys)


HOUR_S = 3600
ASKED_AT_ONCE = 300


def counts(connection: Connection, hours: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Return by (device, hour since 1970) how many windows are kept."""
    mark = "%s" if connection.dialect.name == "postgresql" else "?"
    found: dict[tuple[str, int], int] = {}
    for at in range(0, len(hours), ASKED_AT_ONCE):
        some = hours[at : at + ASKED_AT_ONCE]
        asked = (
            "SELECT column1, column2, (SELECT count(*) FROM windows WHERE device = column1 AND "
            f"placed_s >= column2 * {HOUR_S}.0 AND placed_s < column2 * {HOUR_S}.0 + {HOUR_S}.0) "
            f"FROM (VALUES {', '.join([f'({mark}, {mark})'] * len(some))}) AS hours"
        )
        rows = connection.exec_driver_sql(asked, tuple(value for hour in some for value in hour))
        found |= {(row[0], row[1]): row[2] for row in rows}
    return found


def forget(connection: Connection, device: str) -> None:
    """Remove every window of a device."""
    connection.execute(delete(model_windows).where(model_windows.c.device == device))
    connection.execute(delete(windows).where(windows.c.device == device))
    if connection.dialect.name == "postgresql":
        windows_postgresql.forget(connection, device)


def _device_row(one: Placed, now: float) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    window = one.window
    return (
        one.device,
        window.boot,
        window.started_monotonic_s,
        one.placed_s,
        window.seconds,
        now,
        _encode(window.device),
    )


def _model_rows(one: Placed) -> list[tuple[Any, ...]]:
    key = one.key
    return [(*key, row.model, one.placed_s, *_model_values(row)) for row in one.window.models]


def _model_values(row: ModelWindow) -> tuple[Any, ...]:
    p50, p95 = two_quantiles(row.latency)
    confidence = None if row.confidence is None else _encode(row.confidence)
    return (
        row.release,
        row.variant,
        row.requests,
        row.errors,
        _encode(row.latency),
        p50,
        p95,
        row.memory_bytes,
        confidence,
    )


def two_quantiles(sketch: Sketch) -> tuple[float | None, float | None]:
    """Return p50 and p95 as `Sketch.quantile` gives them, with one pass over the buckets: this is done for every window."""
    seen = list(accumulate(sketch.counts, initial=sketch.zero))
    total = seen[-1]
    if total == 0:
        return None, None
    return _at(sketch, seen, ceil(0.5 * total)), _at(sketch, seen, ceil(0.95 * total))


def _at(sketch: Sketch, seen: list[int], rank: int) -> float:
    if rank <= sketch.zero:
        return 0.0
    return float(2 ** ((sketch.offset + bisect_left(seen, rank) - 0.5) / PER_DOUBLING))
