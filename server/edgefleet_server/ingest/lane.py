"""Telemetry's own way into the database: one thread reads what came, and another stores it, so that neither waits for the other.

One batch is stored while the next is read, and no more: what is beyond waits in the inbox, unacknowledged.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Sequence

from ..link.inbox import Incoming
from ..store.outage import Outage
from .counters import Counters
from .intake import Batch, Intake
from .steady import Steady

LOG = logging.getLogger(__name__)

Work = tuple[Sequence[Incoming], Batch]


class Lane:
    """`done` is told of messages whose windows are committed, and not before."""

    def __init__(
        self,
        intake: Intake,
        done: Callable[[Sequence[Incoming]], None],
        counters: Counters,
        stopping: threading.Event,
        outage: Outage,
    ) -> None:
        self._intake, self._done, self._counters, self._stopping = intake, done, counters, stopping
        self.steady = Steady(counters, stopping, outage, "telemetry")
        self._ready: queue.Queue[Work | None] = queue.Queue(maxsize=1)
        self._stored = 0
        self._thread = threading.Thread(target=self._run, name="ingest-store", daemon=True)

    def start(self) -> None:
        """Begin to store."""
        self._thread.start()

    def take(self, messages: Sequence[Incoming]) -> None:
        """Read messages and hand them on; returns when the batch before them is stored, or when we stop."""
        self._put((messages, self._intake.read(messages)))

    @property
    def stored(self) -> int:
        """How many messages were stored since the start, and acknowledged where their connection still stood."""
        return self._stored

    def stop(self, timeout_s: float = 10.0) -> None:
        """Store what was handed on and end. What cannot be stored is not acknowledged, so it comes again."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._ready.put(None, timeout=timeout_s)
            self._thread.join(timeout=timeout_s)

    def _put(self, work: Work) -> None:
        while True:
            try:
                self._ready.put(work, timeout=0.2)
                return
            except queue.Full:
                if self._stopping.is_set():
                    return

    def _run(self) -> None:
        while (work := self._ready.get()) is not None:
            messages, batch = work
            if self.steady.until_it_works(lambda m=messages, b=batch: self._intake.store(m, b)):  # type: ignore[misc]
                try:
                    self._done(messages)
                except Exception:  # a connection that goes at this moment: it comes again, and without this thread nothing would be stored
                    LOG.exception("what was stored could not be acknowledged; the broker sends it again")
                    self._counters.add("ingest_faults")
                self._stored += len(messages)
