"""Rollouts: what was started where, how far it is, and every move with its reason."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, RowMapping, insert, select, update

from edgefleet_protocol.rollout import Assignment, Policy

from .schema import moves, rollouts

Status = Literal["running", "paused", "complete", "gone-back", "superseded"]
"""running: stages open by themselves; paused: stays at its stage; complete: the release is what the region runs;
gone-back: the release before is; superseded: another rollout of the same model took its place."""


@dataclass(frozen=True)
class Record:
    """One rollout of one release in one region."""

    id: int
    region: str
    model: str
    release: str
    assignment: Assignment
    """With the stage that is open now."""
    policy: Policy
    previous: Assignment | None
    """What the region ran before, for whoever is not yet admitted, and to go back to."""
    previous_policy: Policy | None
    status: Status
    why: str
    """Why it is where it is: the words of the last move, or of what it waits for."""
    started_s: float
    stage_opened_s: float
    updated_s: float
    approved: int = 0
    """The last stage, from 0, to which a person said yes."""
    waves: tuple[tuple[float, float], ...] = ()
    """Of the open stage, how far it was opened and when; none while one wave was enough."""

    soaking_s: float | None = None
    """Since when the gate of the open stage is open and its devices are judged on; None while it is not, or where no time is set."""

    @property
    def admitted_s(self) -> float:
        """When the last devices were let in."""
        return max(self.stage_opened_s, self.waves[-1][1]) if self.waves else self.stage_opened_s

    def admitted_at(self, number: float) -> float:
        """Return when the device with this stable number was let in; those of earlier stages: when this one opened."""
        return next((at_s for percent, at_s in self.waves if number < percent), self.stage_opened_s)

    @property
    def stage(self) -> int:
        """The stage that is open, from 0."""
        return self.assignment.stage

    @property
    def is_last_stage(self) -> bool:
        """Whether no stage follows."""
        return self.stage >= len(self.assignment.stages) - 1


@dataclass(frozen=True)
class MoveRow:
    """One move, as it was made."""

    at_s: float
    kind: str
    stage: int
    why: str


def add(
    connection: Connection,
    *,
    region: str,
    assignment: Assignment,
    release: str,
    policy: Policy,
    previous: Assignment | None,
    previous_policy: Policy | None,
    why: str,
    now: float,
    by: str = "",
) -> int:
    """Start a rollout; the one of the same model before it is superseded, and says so. Returns its number. by: who starts it."""
    before = [row for row in current(connection, region) if row.model == assignment.model]
    result = connection.execute(
        insert(rollouts).values(
            region=region,
            model=assignment.model,
            release=release,
            assignment=msgspec.json.encode(assignment),
            policy=msgspec.json.encode(policy),
            previous=None if previous is None else msgspec.json.encode(previous),
            previous_policy=None if previous_policy is None else msgspec.json.encode(previous_policy),
            status="running",
            why=why,
            started_s=now,
            stage_opened_s=now,
            updated_s=now,
        )
    )
    assert result.inserted_primary_key is not None
    number = int(result.inserted_primary_key[0])
    _add_move(connection, number, now, "start", assignment.stage, why)
    for row in before:
        started = f", started by {by}" if by else ""
        said = f"{release} (rollout {number}{started}) took its place; it was {row.status} at stage {row.stage + 1}: {row.why}"
        connection.execute(
            update(rollouts).where(rollouts.c.id == row.id).values(status="superseded", why=said, updated_s=now)
        )
        _add_move(connection, row.id, now, "superseded", row.stage, said)
    return number


def move(
    connection: Connection,
    record: Record,
    *,
    kind: str,
    status: Status,
    stage: int,
    why: str,
    now: float,
    opened_percent: float | None = None,
) -> None:
    """Store a move of `record`: its new status and stage, and the reason.

    opened_percent: how much of the stage is let in now, where it opens in waves.
    """
    kept = (
        record.assignment.opened_percent
        if kind in ("pause", "resume", "go-back", "approve", "soak")
        else opened_percent
    )
    assignment = msgspec.structs.replace(record.assignment, stage=stage, opened_percent=kept)
    if status == "complete":  # who came meanwhile and had to wait takes it now
        assignment = msgspec.structs.replace(assignment, joined_before=None)
    reopened = stage != record.stage or kind == "resume"
    soaking_s = None if reopened else now if kind == "soak" else record.soaking_s
    connection.execute(
        update(rollouts)
        .where(rollouts.c.id == record.id)
        .values(
            assignment=msgspec.json.encode(assignment),
            status=status,
            why=why,
            stage_opened_s=now if reopened else record.stage_opened_s,
            updated_s=now,
            soaking_s=soaking_s,
            waves=msgspec.json.encode(_waves(record, kind, opened_percent, now, reopened=reopened)).decode(),
        )
    )
    _add_move(connection, record.id, now, kind, stage, why)


def _waves(
    record: Record, kind: str, opened_percent: float | None, now: float, *, reopened: bool
) -> tuple[tuple[float, float], ...]:
    if reopened:
        return ()
    if kind != "wave":
        return record.waves
    opened = record.assignment.opened_percent or 0.0
    first = record.waves or ((opened, record.stage_opened_s),)
    return (*first, (100.0 if opened_percent is None else opened_percent, now))


def approve(connection: Connection, record: Record, stage: int, why: str, now: float) -> None:
    """Store that a person said yes to a stage."""
    connection.execute(update(rollouts).where(rollouts.c.id == record.id).values(approved=stage))
    _add_move(connection, record.id, now, "approve", stage, why)


def waits(connection: Connection, record: Record, why: str) -> None:
    """Store what `record` waits for; a wait is no move, so nothing is added to its history."""
    connection.execute(update(rollouts).where(rollouts.c.id == record.id).values(why=why))


def current(connection: Connection, region: str | None = None) -> tuple[Record, ...]:
    """Return the rollout of each region and model that was not superseded, oldest first."""
    query = select(rollouts).where(rollouts.c.status != "superseded").order_by(rollouts.c.id)
    records = map(_record, connection.execute(query).mappings())
    return tuple(record for record in records if region is None or record.region == region)


def every(connection: Connection, region: str | None = None, limit: int = 200) -> tuple[Record, ...]:
    """Return all rollouts, newest first."""
    query = select(rollouts).order_by(rollouts.c.id.desc()).limit(limit)
    if region is not None:
        query = query.where(rollouts.c.region == region)
    return tuple(map(_record, connection.execute(query).mappings()))


def page(
    connection: Connection,
    *,
    limit: int,
    before: int | None = None,
    region: str | None = None,
    regions: Collection[str] | None = None,
    model: str | None = None,
    status: str | None = None,
    past: bool = False,
) -> tuple[Record, ...]:
    """Return rollouts, newest first; without `past` none whose place another took. before: only smaller numbers."""
    query = select(rollouts).order_by(rollouts.c.id.desc()).limit(limit)
    if not past:
        query = query.where(rollouts.c.status != "superseded")
    for column, wanted in ((rollouts.c.region, region), (rollouts.c.model, model), (rollouts.c.status, status)):
        if wanted is not None:
            query = query.where(column == wanted)
    if regions is not None:
        query = query.where(rollouts.c.region.in_(sorted(regions)))
    if before is not None:
        query = query.where(rollouts.c.id < before)
    return tuple(map(_record, connection.execute(query).mappings()))


def still_stands(connection: Connection, record: Record) -> bool:
    """Return whether nobody moved or approved `record` since it was read; in a transaction that writes nobody can from now on."""
    found = find(connection, record.id)
    # Not by its words: what it waits for is stored as it changes.
    return found is not None and replace(found, why=record.why) == record


def find(connection: Connection, number: int) -> Record | None:
    """Return one rollout, or None."""
    row = connection.execute(select(rollouts).where(rollouts.c.id == number)).mappings().first()
    return None if row is None else _record(row)


def history(connection: Connection, number: int) -> tuple[MoveRow, ...]:
    """Return the moves of one rollout, oldest first."""
    rows = connection.execute(select(moves).where(moves.c.rollout == number).order_by(moves.c.id))
    return tuple(MoveRow(row.at_s, row.kind, row.stage, row.why) for row in rows)


def _add_move(connection: Connection, number: int, now: float, kind: str, stage: int, why: str) -> None:
    connection.execute(insert(moves).values(rollout=number, at_s=now, kind=kind, stage=stage, why=why))


def _record(row: RowMapping) -> Record:
    values: dict[str, Any] = dict(row)
    values["assignment"] = msgspec.json.decode(row["assignment"], type=Assignment)
    values["policy"] = msgspec.json.decode(row["policy"], type=Policy)
    values["waves"] = msgspec.json.decode(row["waves"], type=tuple[tuple[float, float], ...])
    if row["previous"] is not None:
        values["previous"] = msgspec.json.decode(row["previous"], type=Assignment)
    if row["previous_policy"] is not None:
        values["previous_policy"] = msgspec.json.decode(row["previous_policy"], type=Policy)
    return Record(**values)
