"""One move of one rollout: the facts, what `decide` says of them, and that stored with its reason."""

import logging
from collections.abc import Collection

from ..ingest.counters import Counters
from ..store import audit, rollouts
from ..store.database import Database, Unavailable
from ..store.lease import Lease, Lost, hold
from ..store.rollouts import Record
from . import waves
from .decide import Move
from .faults import fault
from .looking import Looker, Weighed
from .next_move import next_move

LOG = logging.getLogger(__name__)

ACTOR = "the controller"


class Mover:
    """Moves rollouts, each by at most one step a look."""

    def __init__(self, database: Database, counters: Counters, looker: Looker) -> None:
        self._database, self._counters, self._looker = database, counters, looker

    def try_to_advance(self, record: Record, lease: Lease, now: float, listed: Collection[str]) -> None:
        """Move one rollout; what stops it is said in its record, and stops no other.

        listed: digests of the releases that are listed now.
        """
        try:
            self._advance(record, lease, now, listed)
        except (Unavailable, Lost):
            raise  # the database is no rollout's own, nor is the lease
        except Exception as error:
            why = f"it cannot be judged now: {error}"
            fault(self._counters, "rollout_faults", f"{record.release} in {record.region}: {why}")
            if record.why != why:
                self._waits(record, why)

    def hold_back(self, record: Record, why: str) -> None:
        """Say why a rollout is not moved: its region is frozen, so neither on nor back."""
        if record.status == "running" and record.why != why:
            self._waits(record, why)

    def _waits(self, record: Record, why: str) -> None:
        with self._database.write() as connection:
            if rollouts.still_stands(connection, record):
                rollouts.waits(connection, record, why)

    def _advance(self, record: Record, lease: Lease, now: float, listed: Collection[str]) -> None:
        if record.assignment.release.sha256 not in listed:
            why = "its release was withdrawn: it is not listed any more, so no device takes it"
            self._store(record, Move("go-back", why), None, record.stage, lease, now)
            return
        move, weighed = next_move(self._looker, record, now)
        if move.kind == "wait" and move.why == record.why:
            return
        stage = move.stage(record.stage)
        self._store(record, move, self._opened(record, move, stage, weighed), stage, lease, now)

    def _store(
        self, record: Record, move: Move, opened_percent: float | None, stage: int, lease: Lease, now: float
    ) -> None:
        with self._database.write() as connection:
            hold(connection, lease)
            if not rollouts.still_stands(connection, record):
                return  # somebody moved it while we looked: what they said of it stays
            if move.kind == "wait":
                rollouts.waits(connection, record, move.why)
                return
            rollouts.move(
                connection,
                record,
                kind=move.kind,
                status=move.status(record.status),
                stage=stage,
                why=move.why,
                now=now,
                opened_percent=opened_percent,
            )
            if move.kind != "wave":  # up to eight to a stage: the history has them
                deed = audit.AuditRow(now, ACTOR, f"rollout.{move.kind}", record.region, record.release, move.why)
                audit.add(connection, deed)
        LOG.info("%s in %s: %s, because %s", record.release, record.region, move.kind, move.why)

    @staticmethod
    def _opened(record: Record, move: Move, stage: int, weighed: Weighed) -> float | None:
        if move.kind == "wave":
            return move.opened_percent
        if move.kind != "open":
            return None
        return waves.at_first(record.assignment, stage, weighed.fleet, weighed.evidence)
