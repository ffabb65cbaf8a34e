"""The windows of one device, as its page reads them: what it measured of itself, and the releases that came and went."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from edgefleet_protocol.telemetry import DeviceWindow

from ..telemetry.stored import Counts, facts_told, models_told
from . import quarters
from .schema import events, windows


class Facts(NamedTuple):
    """The device at the end of one window."""

    placed_s: float
    seconds: float
    facts: DeviceWindow


class Ran(NamedTuple):
    """One model in one window."""

    placed_s: float
    counts: Counts


class Spans(NamedTuple):
    """A device's windows, oldest first."""

    models: Sequence[Ran]
    facts: Sequence[Facts]


def spans(connection: Connection, device: str, *, since_s: float, limit: int = 5000) -> Spans:
    """Return a device's windows from `since_s` on, of more than `limit` the newest; and its quarters, for what is older than windows are kept."""
    table = windows.c
    columns = (table.placed_s, table.seconds, table.facts, table.models)
    query = select(*columns).where(table.device == device, table.placed_s >= since_s)
    rows = connection.execute(query.order_by(table.placed_s.desc()).limit(limit)).all()[::-1]
    # What is not kept window by window any more; a late one lies beside its quarter until it goes.
    before = quarters.of(connection, device, since_s) if len(rows) < limit else ()
    return Spans(
        [Ran(one.placed_s, counts) for one in before for counts in one.models]
        + [Ran(placed_s, counts) for placed_s, _, _, models in rows for counts in models_told(models)],
        [Facts(one.placed_s, one.seconds, one.facts) for one in before]
        + [Facts(placed_s, seconds, facts_told(facts)) for placed_s, seconds, facts, _ in rows],
    )


def marks(connection: Connection, device: str, *, since_s: float, limit: int = 200) -> Sequence[Any]:
    """Return what happened to releases on a device from `since_s` on, oldest first; of more than `limit` the newest.

    Rows of at_s, kind, text, model, release, variant.
    """
    table = events.c
    columns = (table.at_s, table.kind, table.text, table.model, table.release, table.variant)
    query = select(*columns).where(table.device == device, table.at_s >= since_s, table.release.is_not(None))
    return connection.execute(query.order_by(table.at_s.desc()).limit(limit)).all()[::-1]
