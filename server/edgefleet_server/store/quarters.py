"""What is kept of one device's windows when they go: one row for each fifteen minutes.

A window is merged into its quarter in the transaction that removes it, so it counts once whatever happens in between. Nothing is
done while windows come in; what comes late finds its quarter there and is merged into it when it goes.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, exists, select

from ..telemetry.quarters import QUARTER_S, Stretch, by_quarter
from ..telemetry.stored import facts_stored, facts_told, models_told, stored
from . import dialect, rollups_aside
from .database import Database
from .schema import device_quarters, windows

LOG = logging.getLogger(__name__)

WINDOWS = 2_000
"""To a transaction, and up to one device's beyond: everybody else who writes waits for it, and gives up after ten seconds."""


def fold(
    database: Database,
    before_s: float,
    devices: Select[tuple[str]] | None = None,
    *,
    go_on: Callable[[], bool] = lambda: True,
) -> int:
    """Merge windows placed before `before_s`, down to a whole quarter, into their quarters, and remove them; return how many.

    devices: of which; None: of all. go_on: asked before each transaction; what is left then stays as it is.
    """
    ends_s = before_s // QUARTER_S * QUARTER_S
    columns = windows.c
    old = select(columns.device).where(columns.placed_s < ends_s).distinct()
    if devices is not None:
        theirs = devices.subquery().c[0]
        # Device by device: what the others keep for longer is most of what is as old, and would all be read.
        old = select(theirs).where(exists().where(columns.device == theirs, columns.placed_s < ends_s))
    with database.read() as connection:
        names = sorted(connection.execute(old).scalars(), reverse=True)
    gone = 0
    while names and go_on():
        with database.write() as connection:
            here = 0
            while names and here < WINDOWS:
                here += _fold(connection, names.pop(), ends_s)
        gone += here
    return gone


def of(connection: Connection, device: str, since_s: float) -> Sequence[Stretch]:
    """Return a device's quarters from `since_s` on, oldest first."""
    columns = device_quarters.c
    query = select(device_quarters).where(columns.device == device, columns.start_s > since_s - QUARTER_S)
    return [_quarter(row) for row in connection.execute(query.order_by(columns.start_s))]


def prune(database: Database, before_s: float) -> int:
    """Remove quarters that began before `before_s`; return how many."""
    with database.write() as connection:
        return connection.execute(delete(device_quarters).where(device_quarters.c.start_s < before_s)).rowcount


def prune_of(database: Database, devices: Select[tuple[str]], before_s: float) -> None:
    """Remove quarters of these devices that began before `before_s`."""
    columns = device_quarters.c
    with database.read() as connection:
        names = list(connection.execute(devices).scalars())
    for at in range(0, len(names), 500):
        # By device, and not by time: of the others there are many as old.
        old = columns.device.in_(names[at : at + 500]) & (columns.start_s < before_s)
        with database.read() as connection:
            if connection.execute(select(columns.device).where(old).limit(1)).first() is None:
                continue  # most often: the one writer is not asked
        with database.write() as connection:
            connection.execute(delete(device_quarters).where(old))


def forget(connection: Connection, device: str) -> None:
    """Remove every quarter of a device."""
    connection.execute(delete(device_quarters).where(device_quarters.c.device == device))


def _fold(connection: Connection, device: str, ends_s: float) -> int:
    columns, kept = windows.c, device_quarters.c
    old = (columns.device == device) & (columns.placed_s < ends_s)
    # What is removed is what is merged, though another process may store one of that time meanwhile.
    gone = connection.execute(delete(windows).where(old).returning(windows)).all()
    inorder = sorted(gone, key=attrgetter("placed_s", "boot", "started_monotonic_s"))
    found = _readable(connection, inorder, _window)
    starts = sorted({int(row.placed_s // QUARTER_S) * QUARTER_S for row in found})
    there = [
        quarter
        for some in (starts[at : at + 500] for at in range(0, len(starts), 500))
        for quarter in _readable(
            connection,
            connection.execute(select(device_quarters).where(kept.device == device, kept.start_s.in_(some))).all(),
            _quarter,
        )
    ]
    rows = [_row(device, one) for one in by_quarter([*there, *found]).values()]
    statement = dialect.insert(connection, device_quarters)
    fresh = {name: statement.excluded[name] for name in ("seconds", "windows", "facts", "models")}
    if rows:
        connection.execute(statement.on_conflict_do_update(index_elements=["device", "start_s"], set_=fresh), rows)
    return len(gone)


def _readable(connection: Connection, rows: Iterable[Any], read: Callable[[Any], Stretch]) -> list[Stretch]:
    """Return what can be read; what cannot is put aside, for it must not hold up what is older than it is kept for ever."""
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except msgspec.MsgspecError as error:
            rollups_aside.put_row(connection, row, f"a window of {row.device}: {error}")
            LOG.error("what %s told cannot be read, is put aside and is in no quarter: %s", row.device, error)
    return found


def _window(row: Any) -> Stretch:
    return Stretch(row.placed_s, row.seconds, 1, facts_told(row.facts), models_told(row.models))


def _row(device: str, one: Stretch) -> dict[str, Any]:
    return {
        "device": device,
        "start_s": int(one.placed_s),
        "seconds": one.seconds,
        "windows": one.windows,
        "facts": facts_stored(one.facts),
        "models": stored(one.models),
    }


def _quarter(row: Any) -> Stretch:
    return Stretch(float(row.start_s), row.seconds, row.windows, facts_told(row.facts), models_told(row.models))
