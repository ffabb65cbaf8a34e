"""Storing what came, for as long as it takes: a database that refuses is waited for, and nothing is acknowledged meanwhile."""

import logging
import threading
import time
from collections.abc import Callable

from .counters import Counters

LOG = logging.getLogger(__name__)

PAUSE_S = 1.0


class Steady:
    """Tries until it works. `stuck_s` may be asked from every thread."""

    def __init__(self, counters: Counters, stopping: threading.Event) -> None:
        self._counters, self._stopping = counters, stopping
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
                # A full disk, a locked file or a database that is away is no fault of the message: it is kept, in its order.
                self._counters.add("database_faults", reason=str(error))
                if self._since is None:
                    self._since = time.monotonic()
                    LOG.exception("the database refused; nothing is acknowledged until it works again")
                if self._stopping.wait(PAUSE_S):
                    return False
                continue
            if self._since is not None:
                LOG.warning("the database works again, after %.0f s", self.stuck_s)
                self._since = None
            return True
