"""The thread that keeps roll-ups up to date: folds what came in, and removes what is older than it is kept."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from .ingest.counters import Counters
from .keeping import Kept, RegionKeep, at_most, bounds
from .regions.current import keep_days
from .seams import Clock
from .store import rollups
from .store.database import Database, Unavailable
from .store.rollup_pruning import prune_rollups, prune_windows

LOG = logging.getLogger(__name__)

EVERY_S = 2.0
REST = 3.0
"""It rests so many times as long as it worked, for it holds the one writer of SQLite meanwhile."""
TIDY_EVERY_S = 600.0
RESOLUTION_SPANS = {
    rollups.MINUTE: "minute_rollups_days",
    rollups.HOUR: "hour_rollups_days",
    rollups.DAY: "day_rollups_days",
}


class Tidier:
    """Removes what is older than its resolution and its region keep it."""

    def __init__(
        self, database: Database, counters: Counters, clock: Clock, keep: Kept, regions: Mapping[str, RegionKeep]
    ) -> None:
        self._database, self._counters, self._clock = database, counters, clock
        self._keep, self._regions = keep, regions

    def __call__(self) -> None:
        """Do it once."""
        now = self._clock.now()
        for resolution, name in RESOLUTION_SPANS.items():
            gone = prune_rollups(self._database, resolution, bounds(self._keep, self._regions, name, now))
            self._counters.add("rollups_pruned", gone)
        own = bounds(self._keep, self._regions, "windows_days", now)
        kept_from_s = min([own.others, *own.regions.values()])
        with self._database.read() as connection:
            own = at_most(own, keep_days(connection), now)
        self._counters.add("windows_pruned", prune_windows(self._database, own, kept_from_s))


class Roller:
    """Folds every few seconds; `tidy` is called now and then."""

    def __init__(
        self,
        database: Database,
        counters: Counters,
        tidy: Callable[[], None],
        on_folded: Callable[[rollups.Folded], None],
    ) -> None:
        """on_folded: is told what was moved, after it is stored."""
        self._database, self._counters, self.tidy, self._on_folded = database, counters, tidy, on_folded
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

    def step(self) -> rollups.Gathered | None:
        """Fold once; return what was folded, None for nothing. Batches are added up before the one writer is asked to wait."""
        with self._database.read() as connection:
            gathered = rollups.gather(connection)
        if gathered is None:
            return None
        try:
            with self._database.write() as connection:
                rollups.put(connection, gathered)
        except rollups.Taken:
            return None
        self._on_folded(gathered.folded)
        self._counters.add("rollup_batches", gathered.folded.batches)
        return gathered

    def turn(self) -> int:
        """Fold everything that waits; return how many batches there were."""
        total = 0
        while gathered := self.step():
            total += gathered.folded.batches
        return total

    def _run(self) -> None:
        tidied = 0.0
        while not self._stopping.is_set():
            began, full = time.monotonic(), False
            try:
                gathered = self.step()
                full = gathered is not None and gathered.full
                if began - tidied > TIDY_EVERY_S or not tidied:
                    tidied = began
                    self.tidy()
                self._database.outage.works("roll-ups")
            except Unavailable as error:
                self._database.outage.refused("roll-ups", error)
                self._counters.add("rollup_faults", reason=str(error))
            except Exception:  # what waits stays where it is, and a later version may understand it
                LOG.exception("roll-ups could not be made")
                self._counters.add("rollup_faults")
            took_s = time.monotonic() - began
            # Few large folds: each writes the rows of its minutes anew.
            self._stopping.wait(REST * took_s if full else max(EVERY_S, REST * took_s))
