"""Who did what: written in the transaction of the change, and for every refusal."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select

from .schema import audit


@dataclass(frozen=True)
class AuditRow:
    """One deed, done or refused."""

    at_s: float
    actor: str
    action: str
    region: str | None
    subject: str
    outcome: str
    id: int = 0


def add(connection: Connection, row: AuditRow) -> None:
    """Append `row`."""
    connection.execute(insert(audit).values(**_values(row)))


def _values(row: AuditRow) -> dict[str, Any]:
    """As columns; the number comes from the database."""
    return {name: value for name, value in vars(row).items() if name != "id"}


def add_all(connection: Connection, rows: Sequence[AuditRow]) -> None:
    """Append many."""
    if rows:
        connection.execute(insert(audit), [_values(row) for row in rows])


def latest(
    connection: Connection,
    limit: int = 100,
    regions: Collection[str] | None = None,
    *,
    before: int | None = None,
    actor: str | None = None,
    action: str | None = None,
) -> tuple[AuditRow, ...]:
    """Return the newest rows first; of `regions` only, where they are given; before: only those with smaller numbers."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    if actor is not None:
        query = query.where(audit.c.actor == actor)
    if action is not None:
        query = query.where(audit.c.action == action)
    if regions is not None:
        query = query.where(audit.c.region.in_(sorted(regions)))
    return tuple(
        AuditRow(row.at_s, row.actor, row.action, row.region, row.subject, row.outcome, row.id)
        for row in connection.execute(query)
    )
