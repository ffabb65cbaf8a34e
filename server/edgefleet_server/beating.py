"""Each process over one PostgreSQL database says now and then that it lives, and what the others should know of it."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .seams import Clock
from .store import processes
from .store.database import Database, Unavailable
from .store.processes import Kind, Process

LOG = logging.getLogger(__name__)

EVERY_S = 5.0
SILENT_S = 20.0
"""Who has said nothing for so long is taken for gone: four words were missed."""
FORGET_S = 86400.0
SERVER = "server"
"""What the one server is called; there is no other of its kind."""


class Heard:
    """For how long each process has been silent, by this process's own clock alone: those of two machines may be minutes apart.

    A row that is another one than at the look before is a word, whatever time it says. Safe from every thread.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._heard: dict[str, tuple[Process, float]] = {}

    def look(self, rows: Iterable[Process]) -> dict[str, float]:
        """Take in all rows as they are now; return the seconds of silence by name. Who is seen for the first time spoke just now."""
        with self._lock:
            now_s, before = self._monotonic_s(), self._heard
            self._heard = {
                row.name: before[row.name] if row.name in before and before[row.name][0] == row else (row, now_s)
                for row in rows
            }
            return {name: now_s - heard_s for name, (_, heard_s) in self._heard.items()}


class Beat:
    """Writes one process's row. With SQLite there are no others, and nothing is written."""

    def __init__(
        self, database: Database, clock: Clock, name: str, kind: Kind, says: Callable[[], Mapping[str, Any]]
    ) -> None:
        """name: one for each process. says: what it tells of itself now; small, and for whoever may read /healthz."""
        self._database, self._clock, self._name, self._kind, self._says = database, clock, name[:64], kind, says
        self._started_s = clock.now()
        self.heard = Heard()
        """What it sees of all of them, at each word of its own."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)

    def start(self) -> None:
        """Begin to say so."""
        if self._database.is_postgresql:
            self._thread.start()

    def stop(self) -> None:
        """End, and take leave: the others know at once."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
            try:
                with self._database.append() as connection:
                    processes.drop(connection, self._name)
            except Unavailable as error:
                LOG.warning("could not take leave of the database: %s", error.orig)

    def once(self) -> None:
        """Say it once."""
        now = self._clock.now()
        row = Process(self._name, self._kind, self._started_s, now, dict(self._says()))
        with self._database.append() as connection:
            processes.put(connection, row)
            if self._kind == "server":
                processes.prune(connection, now - FORGET_S)
            self.heard.look(processes.every(connection))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.once()
                self._database.outage.works("beat")
            except Unavailable as error:
                self._database.outage.refused("beat", error)
            except Exception:
                LOG.exception("this process could not say that it lives")
            self._stopping.wait(EVERY_S)
