"""Events of devices, each once, whatever the broker repeats."""

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, func, literal, select, tuple_

from edgefleet_protocol.messages import Event

from .devices import of_regions
from .dialect import insert
from .schema import devices, events
from .texts import clean

SERVER = "the server"
"""In the place of a boot: the server noticed it."""


@dataclass(frozen=True)
class EventRow:
    """An event, and when the server heard of it."""

    device: str
    at_s: float
    received_s: float
    kind: str
    text: str
    model: str | None
    release: str | None
    variant: str | None
    facts: dict[str, str]
    boot: str = ""
    number: int = 0


def add(connection: Connection, event: Event, now: float) -> bool:
    """Keep `event`; return False when it was there already."""
    statement = insert(connection, events).values(
        device=event.device,
        boot=clean(event.boot),
        number=event.number,
        at_s=event.at_s,
        received_s=now,
        kind=clean(event.kind),
        text=clean(event.text),
        model=clean(event.model),
        release=clean(event.release),
        variant=clean(event.variant),
        facts=json.dumps(event.facts),
    )
    once = statement.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return connection.execute(once).rowcount == 1


def add_own(connection: Connection, device: str, kind: str, text: str, now: float) -> None:
    """Keep what the server itself noticed of a device."""
    number = int(now * 1000)
    add(connection, Event(device=device, boot=SERVER, number=number, at_s=now, kind=kind, text=text[:2000]), now)


ORDER = (events.c.received_s, events.c.number, events.c.device, events.c.boot)
"""Newest first by this; a mark of a page holds these four."""


def latest(
    connection: Connection,
    *,
    device: str | None = None,
    limit: int = 100,
    regions: Collection[str] | None = None,
    region: str | None = None,
    kind: str | None = None,
    before: tuple[float, int, str, str] | None = None,
) -> tuple[EventRow, ...]:
    """Return events, newest first, of one device or of all; of devices of `regions` only, where they are given.

    before: only what is older than the event with these values of ORDER.
    """
    query = select(events).order_by(*(column.desc() for column in ORDER)).limit(limit)
    if before is not None:
        query = query.where(tuple_(*ORDER) < tuple_(*map(literal, before)))
    if kind is not None:
        query = query.where(events.c.kind == kind)
    if region is not None:
        query = query.where(events.c.device.in_(select(devices.c.id).where(of_regions((region,)))))
    if regions is not None:
        query = query.where(events.c.device.in_(select(devices.c.id).where(of_regions(regions))))
    if device is not None:
        query = query.where(events.c.device == device)
    return tuple(
        EventRow(
            device=row.device,
            at_s=row.at_s,
            received_s=row.received_s,
            kind=row.kind,
            text=row.text,
            model=row.model,
            release=row.release,
            variant=row.variant,
            facts=json.loads(row.facts),
            boot=row.boot,
            number=row.number,
        )
        for row in connection.execute(query)
    )


def count(connection: Connection) -> int:
    """Return how many events are kept."""
    return int(connection.execute(select(func.count()).select_from(events)).scalar_one())
