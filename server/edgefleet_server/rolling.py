"""The thread that keeps roll-ups up to date: folds what came in, and removes what is older than it is kept."""

import logging
import threading
import time
from collections.abc import Callable

from .ingest.counters import Counters
from .store import rollups
from .store.database import Database, Unavailable

LOG = logging.getLogger(__name__)

EVERY_S = 2.0
REST = 5.0
"""It rests so many times as long as it worked, for it holds the one writer of SQLite meanwhile."""
TIDY_EVERY_S = 600.0


class Roller:
    """Folds every few seconds; `tidy` is called now and then."""

    def __init__(self, database: Database, counters: Counters, tidy: Callable[[], None]) -> None:
        self._database, self._counters, self._tidy = database, counters, tidy
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

    def turn(self) -> int:
        """Fold everything that waits; return how many batches there were."""
        total = 0
        while not self._stopping.is_set():
            with self._database.read() as connection:
                if not rollups.waiting(connection):
                    break
            with self._database.write() as connection:
                count = rollups.fold(connection)
            total += count
            if count < rollups.BATCH:
                break
        self._counters.add("rollup_batches", total)
        return total

    def _run(self) -> None:
        tidied = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self.turn()
                if began - tidied > TIDY_EVERY_S or not tidied:
                    tidied = began
                    self._tidy()
            except Unavailable:
                LOG.exception("roll-ups wait: the database refused")
                self._counters.add("rollup_faults")
            except Exception:  # what waits stays where it is, and a later version may understand it
                LOG.exception("roll-ups could not be made")
                self._counters.add("rollup_faults")
            self._stopping.wait(max(EVERY_S, REST * (time.monotonic() - began)))
