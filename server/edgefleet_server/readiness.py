"""Whether the server can do its work now."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .rollouts.controller import Controller
from .seams import Clock
from .store.database import Database

STUCK_S = 60.0
"""A controller that has not finished a look for so long, or for twenty ticks, hangs or fails."""


class Ingest(Protocol):
    """What takes in what devices say."""

    @property
    def stuck_s(self) -> float:
        """For how long the database has refused what came; 0 when it does not."""

    @property
    def waiting(self) -> int:
        """How many messages came and were not dealt with yet."""


@dataclass(frozen=True)
class Readiness:
    """Asks the parts."""

    database: Database
    controller: Controller
    clock: Clock
    connected: Callable[[], bool]
    tick_s: float
    ingest: Ingest

    def __call__(self) -> tuple[str, ...]:
        """Return the names of the parts that cannot work now: database, ingest, broker, controller."""
        waiting = []
        try:
            with self.database.read() as connection:
                connection.exec_driver_sql("SELECT 1 FROM devices LIMIT 1")
        except Exception:  # whatever is wrong with it, it does not answer
            waiting.append("database")
        if self.ingest.stuck_s > 0:
            waiting.append("ingest")
        if not self.connected():
            waiting.append("broker")
        turned = self.controller.turned_s
        if turned is None or self.clock.now() - turned > max(STUCK_S, 20 * self.tick_s):
            waiting.append("controller")
        return tuple(waiting)
