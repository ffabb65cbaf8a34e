"""The thread that removes telemetry by resolution and region. Beside the roll-ups: a large region's windows of a day take an hour."""

import logging
import threading
from collections.abc import Mapping

from .ingest.counters import Counters
from .keeping import Kept, RegionKeep, at_most, bounds
from .regions.current import keep_days
from .seams import Clock
from .store import rollups, rollups_aside
from .store.database import Database, Unavailable
from .store.rollup_pruning import prune_rollups, prune_windows

LOG = logging.getLogger(__name__)

EVERY_S = 600.0
RESOLUTION_SPANS = {
    rollups.MINUTE: "minute_rollups_days",
    rollups.HOUR: "hour_rollups_days",
    rollups.DAY: "day_rollups_days",
}


class Tidier:
    """Removes what is older than its resolution and its region keep it, every ten minutes."""

    def __init__(
        self, database: Database, counters: Counters, clock: Clock, keep: Kept, regions: Mapping[str, RegionKeep]
    ) -> None:
        self._database, self._counters, self._clock = database, counters, clock
        self._keep, self._regions = keep, regions
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tidying", daemon=True)

    def start(self) -> None:
        """Begin; the first time is now."""
        self._thread.start()

    def stop(self) -> None:
        """End after the piece at hand; what is left waits for the next start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def turn(self) -> None:
        """Do it once."""
        now = self._clock.now()
        for resolution, name in RESOLUTION_SPANS.items():
            gone = prune_rollups(
                self._database, resolution, bounds(self._keep, self._regions, name, now), go_on=self._goes_on
            )
            self._counters.add("rollups_pruned", gone)
        own = bounds(self._keep, self._regions, "windows_days", now)
        kept_from_s = min([own.others, *own.regions.values()])
        with self._database.read() as connection:
            own = at_most(own, keep_days(connection), now)
        gone = prune_windows(self._database, own, kept_from_s, go_on=self._goes_on)
        self._counters.add("windows_pruned", gone)
        if not self._goes_on():
            return
        with self._database.write() as connection:
            rollups_aside.prune(connection, kept_from_s)

    def _goes_on(self) -> bool:
        return not self._stopping.is_set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.turn()
                self._database.outage.works("tidying")
            except Unavailable as error:
                # Tried again in minutes, by when others have said that the database works.
                self._database.outage.met("tidying", error)
                self._counters.add("tidying_faults", reason=str(error))
            except Exception:
                LOG.exception("what is older than its region keeps it could not be removed")
                self._counters.add("tidying_faults")
            self._stopping.wait(EVERY_S)
