"""Storing what came, for as long as it takes: a database that refuses is waited for, and nothing is acknowledged meanwhile."""

import logging
import threading
import time
from collections.abc import Callable

from ..store.database import Unavailable
from ..store.outage import Outage
from .counters import Counters

LOG = logging.getLogger(__name__)

PAUSE_S = 1.0


class Steady:
    """Tries until it works. `stuck_s` may be asked from every thread."""

    def __init__(self, counters: Counters, stopping: threading.Event, outage: Outage, part: str) -> None:
        """outage: of the database, which tells of it; part: what this one is called there."""
        self._counters, self._stopping, self._outage, self._part = counters, stopping, outage, part
        self._since: float | None = None

    @property
    def stuck_s(self) -> float:
        """For how long the database has refused what came; 0 when it does not."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def until_it_works(self, store: Callable[[], object]) -> bool:
        """Return True once `store` did it; False when we stop before: then the broker sends it again."""
        while True:
            try:
                store()
            except Exception as error:
                # A full disk, a locked file, a database that is away or a list of revocations that cannot be read is no fault of
                # the message: it is kept, in its order.
                self._counters.add("database_faults", reason=str(error))
                first = self._since is None
                if first:
                    self._since = time.monotonic()
                if isinstance(error, Unavailable):
                    self._outage.refused(self._part, error)
                elif first:
                    LOG.exception("it could not be stored; nothing is acknowledged until it can")
                if self._stopping.wait(PAUSE_S):
                    return False
                continue
            self._since = None
            self._outage.works(self._part)
            return True
