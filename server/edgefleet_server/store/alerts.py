"""Alerts: what holds, what was opened, who took notice, and when it was over."""

import json
from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import Connection, RowMapping, delete, insert, literal, select, tuple_, update

from ..alerts.findings import Key
from ..alerts.judge import Alert, Change
from .schema import alerts

MOST_SUBJECTS = 20_000
"""Kept by name; the text says how many there are."""


def unresolved(connection: Connection) -> dict[Key, Alert]:
    """Return what is pending or open, by key."""
    rows = connection.execute(select(alerts).where(alerts.c.status != "resolved").order_by(alerts.c.id)).mappings()
    return {alert.key: alert for alert in map(_alert, rows)}


def apply(connection: Connection, change: Change) -> Alert:
    """Store one change; return the alert as it is stored, with its number."""
    alert = change.alert
    if change.kind == "drop":
        connection.execute(delete(alerts).where(alerts.c.id == alert.id))
        return alert
    values = {
        **{name: value for name, value in vars(alert).items() if name not in ("id", "subjects")},
        "subjects": json.dumps(list(alert.subjects[:MOST_SUBJECTS])),
    }
    if alert.id:
        # What people did meanwhile is theirs.
        for name in ("acknowledged_s", "acknowledged_by", "silenced_until_s", "silenced_by"):
            del values[name]
        connection.execute(update(alerts).where(alerts.c.id == alert.id).values(**values))
        return alert
    result = connection.execute(insert(alerts).values(**values))
    assert result.inserted_primary_key is not None
    return replace(alert, id=int(result.inserted_primary_key[0]))


def find(connection: Connection, number: int, regions: Collection[str] | None = None) -> Alert | None:
    """Return one that was opened, or None; of `regions` only, where they are given."""
    query = select(alerts).where(alerts.c.id == number, alerts.c.status != "pending")
    if regions is not None:
        query = query.where(alerts.c.region.in_(sorted(regions)))
    row = connection.execute(query).mappings().first()
    return None if row is None else _alert(row)


def latest(
    connection: Connection,
    *,
    past: bool = False,
    limit: int = 200,
    regions: Collection[str] | None = None,
    region: str | None = None,
    rule: str | None = None,
    severity: str | None = None,
    before: tuple[float, int] | None = None,
) -> tuple[Alert, ...]:
    """Return what is open, newest first; with `past`, also what was resolved.

    before: only those that are older than the one with this time of opening and number.
    """
    query = select(alerts).where(alerts.c.status.in_(("open", "resolved") if past else ("open",)))
    for column, wanted in ((alerts.c.region, region), (alerts.c.rule, rule), (alerts.c.severity, severity)):
        if wanted is not None:
            query = query.where(column == wanted)
    if before is not None:
        query = query.where(tuple_(alerts.c.opened_s, alerts.c.id) < tuple_(*map(literal, before)))
    if regions is not None:
        query = query.where(alerts.c.region.in_(sorted(regions)))
    query = query.order_by(alerts.c.opened_s.desc(), alerts.c.id.desc()).limit(limit)
    return tuple(_alert(row) for row in connection.execute(query).mappings())


def acknowledge(connection: Connection, number: int, actor: str, now: float) -> None:
    """Keep that somebody takes care of it."""
    connection.execute(update(alerts).where(alerts.c.id == number).values(acknowledged_s=now, acknowledged_by=actor))


def silence(connection: Connection, number: int, actor: str, until_s: float) -> None:
    """Tell nobody of it until then."""
    connection.execute(update(alerts).where(alerts.c.id == number).values(silenced_until_s=until_s, silenced_by=actor))


def _alert(row: RowMapping) -> Alert:
    return Alert(**{**dict(row), "subjects": tuple(json.loads(row["subjects"]))})
