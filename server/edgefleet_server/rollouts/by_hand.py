"""What a person does to a rollout: each is one stored move with its reason, and a row of the audit."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import NotFound, Refused
from ..seams import Clock
from ..store import audit, regions, rollouts
from ..store.database import Connection, Database
from ..store.rollouts import Record, Status
from . import waves
from .looking import Looker
from .next_move import next_move

Hand = Literal["pause", "resume", "go-back", "abort", "roll-back", "approve", "next"]


@dataclass(frozen=True)
class _Way:
    """On which rollouts it may be done, and what they are afterwards."""

    allowed: tuple[Status, ...]
    after: Status
    kind: str


WAYS: Mapping[Hand, _Way] = {
    "pause": _Way(("running",), "paused", "pause"),
    "resume": _Way(("paused",), "running", "resume"),
    "go-back": _Way(("running", "paused", "complete"), "gone-back", "go-back"),
    "abort": _Way(("running", "paused"), "gone-back", "go-back"),
    "roll-back": _Way(("complete",), "gone-back", "go-back"),
    "approve": _Way(("running", "paused"), "running", "approve"),
    "next": _Way(("running", "paused"), "running", "open"),
}
"""abort ends a rollout before it is complete, roll-back one that is; go-back does either."""


class Hands:
    """Stores what a person does."""

    def __init__(self, database: Database, clock: Clock, looker: Looker) -> None:
        self._database, self._clock, self._looker = database, clock, looker

    def do(self, region: str, model: str | None, actor: str, hand: Hand, why: str) -> Record:
        """Do it to the rollout of a region, of `model` where there are several; return the record as it was before.

        Raises NotFound where there is none, Refused where it may not be done now.
        """
        record = self._find(region, model)
        way = WAYS[hand]
        if record.status not in way.allowed:
            raise Refused(
                f"{record.release} in {region} is {record.status}; {hand} is for one that is {' or '.join(way.allowed)}"
            )
        now = self._clock.now()
        text = f"{actor}: {why}" if why else f"{actor} did it by hand"
        if hand == "approve":
            self._approve(record, actor, text, now)
        elif hand == "next":
            self._not_frozen(region)
            self._next(record, actor, text, now)
        else:
            if way.kind == "go-back" and record.status == "complete" and record.previous is None:
                raise Refused(f"{region} ran nothing before {record.release}, so there is nothing to go back to")
            self._move(record, actor, way.kind, hand, way.after, record.stage, text, now)
        return record

    def _not_frozen(self, region: str) -> None:
        with self._database.read() as connection:
            by = regions.freezes(connection).get(region)
        if by is not None:
            raise Refused(
                f"{region} is frozen by {by}, so its rollouts do not move on. To end that: edgefleet region unfreeze {region}"
            )

    def _find(self, region: str, model: str | None) -> Record:
        with self._database.read() as connection:
            records = [row for row in rollouts.current(connection, region) if model is None or row.model == model]
        if not records:
            what = f"of {model} " if model else ""
            raise NotFound(f"there is no rollout {what}in {region}. See: edgefleet rollout list")
        if len(records) > 1:
            raise Refused(f"{region} has rollouts of {', '.join(row.model for row in records)}: say which with model")
        return records[0]

    def _move(
        self, record: Record, actor: str, kind: str, hand: Hand, status: Status, stage: int, text: str, now: float,
        opened: float | None = None,
    ) -> None:  # fmt: skip
        with self._database.write() as connection:
            _unmoved(connection, record)
            rollouts.move(
                connection, record, kind=kind, status=status, stage=stage, why=text, now=now, opened_percent=opened
            )
            deed = audit.AuditRow(now, actor, f"rollout.{hand}", record.region, record.release, text)
            audit.add(connection, deed)

    def _approve(self, record: Record, actor: str, text: str, now: float) -> None:
        stage = record.stage + 1
        if record.is_last_stage or not record.assignment.stages[stage].approval:
            raise Refused(
                f"{record.release} in {record.region} waits for nobody's yes: no stage that asks for approval comes next"
            )
        if record.approved >= stage:
            raise Refused(f"stage {stage + 1} of {record.release} in {record.region} was approved already")
        if (waits_for := self._before_a_yes(record, stage, now)) is not None:
            raise Refused(
                f"stage {stage + 1} of {record.release} in {record.region} does not wait for a yes yet: {waits_for}. Approve it when it "
                f"does; to open it without what it waits for: edgefleet rollout next {record.region}"
            )
        with self._database.write() as connection:
            _unmoved(connection, record)
            rollouts.approve(connection, record, stage, text, now)
            said = f"stage {stage + 1}: {text}"
            audit.add(connection, audit.AuditRow(now, actor, "rollout.approve", record.region, record.release, said))

    def _before_a_yes(self, record: Record, stage: int, now: float) -> str | None:
        """Return what the rollout waits for before it waits for a person, or None when that is all.

        A yes that is given ahead would be one to evidence that nobody has seen.
        """
        self._looker.look()
        asked = replace(record, status="running")
        if next_move(self._looker, replace(asked, approved=stage), now)[0].kind == "open":
            return None
        return next_move(self._looker, asked, now)[0].why

    def _next(self, record: Record, actor: str, text: str, now: float) -> None:
        """Open the next stage whatever the gate waits for; after the last one it is complete."""
        if record.is_last_stage:
            self._move(record, actor, "complete", "next", "complete", record.stage, text, now)
            return
        self._looker.look()
        weighed = self._looker.weigh(record)
        # Its gate is passed over, and not how many may be under way at once: those load the broker whoever opens the stage.
        opened = waves.at_first(record.assignment, record.stage + 1, weighed.fleet, weighed.evidence)
        self._move(record, actor, "open", "next", "running", record.stage + 1, text, now, opened)


def _unmoved(connection: Connection, record: Record) -> None:
    """Raise Refused where another process moved the rollout since it was looked at: its way back must not become a pause."""
    if rollouts.still_stands(connection, record):
        return
    now = rollouts.find(connection, record.id)
    how = "" if now is None else f": it is {now.status} at stage {now.stage + 1}, because {now.why}"
    raise Refused(
        f"{record.release} in {record.region} was moved at this moment{how}. Look at it, and ask again if it is still to be: "
        f"edgefleet rollout show {record.region}"
    )
