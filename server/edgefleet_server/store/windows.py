"""Windows as they come in, many at once, each once: (device, boot, started_monotonic_s) names a window, whatever is sent again."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, delete

from edgefleet_protocol.telemetry import Window

from ..telemetry.cells import Waiting, row_of
from ..telemetry.stored import facts_stored, models_stored
from . import quarters, windows_postgresql, windows_sqlite
from .schema import windows

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


class Ready(NamedTuple):
    """A window as the row that it will be, in the order of the table's columns."""

    placed: Placed
    row: tuple[str, str, float, float, float, float, bytes, int, bytes]

    def waiting(self, region: str, hardware_class: str) -> Waiting:
        """Return it as it waits to be rolled up, of a device that belongs there."""
        device, _, _, placed_s, seconds, _, facts, _, models = self.row
        return row_of(device, region, hardware_class, placed_s, seconds, facts, models)


def ready(placed: Placed, now: float) -> Ready:
    """Return the row of a window that came `now`. Looks at nothing else, so it can be done before the database is asked."""
    device, window, placed_s, _ = placed
    return Ready(
        placed,
        (
            device,
            window.boot,
            window.started_monotonic_s,
            placed_s,
            window.seconds,
            now,
            facts_stored(window.device),
            sum([model.requests for model in window.models]),
            models_stored(window.models),
        ),
    )


def keep(connection: Connection, some: Sequence[Ready]) -> list[Ready]:
    """Keep windows; return those that were not there yet, in their order. Of two with one name the first counts."""
    by_key: dict[Key, Ready] = {}
    for one in some:
        by_key.setdefault(one.row[:3], one)
    if not by_key:
        return []
    store = windows_postgresql if connection.dialect.name == "postgresql" else windows_sqlite
    coming = list(by_key.values())
    new = store.add_windows(connection, [one.row for one in coming], [one.placed.by_arrival for one in coming])
    return [one for one, is_new in zip(coming, new, strict=True) if is_new]


def add(connection: Connection, placed: Sequence[Placed], now: float) -> list[Placed]:
    """The same, in one go."""
    return [one.placed for one in keep(connection, [ready(one, now) for one in placed])]


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
    """Remove every window of a device, and its quarters."""
    quarters.forget(connection, device)
    connection.execute(delete(windows).where(windows.c.device == device))
    if connection.dialect.name == "postgresql":
        windows_postgresql.forget(connection, device)
