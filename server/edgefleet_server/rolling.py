"""The thread that keeps roll-ups up to date: folds what came in."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from .ingest.counters import Counters
from .store import rollups, rollups_aside
from .store.database import Database, Unavailable, of_the_database

LOG = logging.getLogger(__name__)

EVERY_S = 2.0
REST = 3.0
"""It rests so many times as long as it worked, for it holds the one writer of SQLite meanwhile."""


class Step(NamedTuple):
    """What one look at what waits did."""

    batches: int
    """That were folded."""
    came: bool
    """Whether there were any; some may be put aside, or be folded by another process."""
    full: bool
    """Whether more may wait."""


class Roller:
    """Folds every few seconds."""

    def __init__(self, database: Database, counters: Counters, on_folded: Callable[[rollups.Folded], None]) -> None:
        """on_folded: is told what was moved, after it is stored."""
        self._database, self._counters, self._on_folded = database, counters, on_folded
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="roll-ups", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what waits is folded after the next start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def retry(self) -> None:
        """Let what was put aside wait again: an older version may have done it, and this one understand it."""
        with self._database.read() as connection:
            if not rollups_aside.count(connection):
                return  # most often: the one writer is not asked
        with self._database.write() as connection:
            rollups_aside.bring_back(connection)

    def _try_to_retry(self) -> None:
        """The same once at the start. What cannot be brought back must not keep what is new from being folded."""
        try:
            self.retry()
        except Unavailable:
            raise  # it is tried again
        except Exception as error:
            LOG.exception("what was put aside stays there until the next start")
            self._counters.add("rollup_faults", reason=repr(error))

    def step(self) -> Step:
        """Fold once what waits. Batches are added up before the one writer is asked to wait."""
        with self._database.read() as connection:
            waiting = rollups.waiting(connection)
        return Step(self._fold(waiting.ids), bool(waiting.ids), waiting.full)

    def turn(self) -> int:
        """Fold everything that waits; return how many batches there were."""
        total = 0
        while (step := self.step()).came:
            total += step.batches
        return total

    def _fold(self, ids: Sequence[int]) -> int:
        """Fold these batches; return how many were. Those that cannot be read are put aside."""
        if not ids:
            return 0
        try:
            with self._database.read() as connection:
                gathered = rollups.gather_these(connection, ids)
            with self._database.write() as connection:
                rows_aside = rollups.put(connection, gathered)
        except rollups.Taken:
            return 0
        except Exception as error:
            if of_the_database(error):
                raise
            return self._in_halves(ids, error)
        if rows_aside:
            self._say("rollup_rows_aside", rows_aside, "rows that were there could not be read, and begin anew")
        self._on_folded(gathered.folded)
        self._counters.add("rollup_batches", gathered.folded.batches)
        return gathered.folded.batches

    def _in_halves(self, ids: Sequence[int], error: Exception) -> int:
        """Fold what can be of batches that cannot be folded together; put the one aside that cannot be alone."""
        if len(ids) > 1:
            middle = len(ids) // 2
            return self._fold(ids[:middle]) + self._fold(ids[middle:])
        with self._database.write() as connection:
            if rollups_aside.put_batch(connection, ids[0], repr(error)):
                self._say("rollup_batches_aside", 1, repr(error))
        return 0

    def _say(self, name: str, by: int, why: str) -> None:
        """Count it; the log is told once."""
        if not self._counters.get("rollup_batches_aside") + self._counters.get("rollup_rows_aside"):
            LOG.error("telemetry that cannot be read is put aside, and its windows are in no roll-up: %s", why)
        self._counters.add(name, by, reason=why)

    def _run(self) -> None:
        retried = False
        while not self._stopping.is_set():
            began, full = time.monotonic(), False
            try:
                if not retried:
                    self._try_to_retry()
                    retried = True
                full = self.step().full
                self._database.outage.works("roll-ups")
            except Unavailable as error:
                self._database.outage.refused("roll-ups", error)
                self._counters.add("rollup_faults", reason=str(error))
            except Exception:  # what waits stays where it is
                LOG.exception("roll-ups could not be made")
                self._counters.add("rollup_faults")
            took_s = time.monotonic() - began
            # Few large folds: each writes the rows of its minutes anew.
            self._stopping.wait(REST * took_s if full else max(EVERY_S, REST * took_s))
