"""What devices last said of themselves, read back from the broker's memory, some devices at a time.

Whoever subscribes to every state at once gets all of them in one moment, and Mosquitto drops in silence what passes a client's queue
(`max_queued_bytes`, which bounds what a hostile client may cost): beyond about 1,500 devices states were missing. So the server
subscribes to states without what is retained, by an option of MQTT 5, and asks for each by its name: of devices that the database
knows, and of those whose presence, which is small, the broker retains.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from edgefleet_protocol.topics import Topics

from ..link.broker import Broker
from ..store import devices
from ..store.database import Database, Unavailable
from .counters import Counters

LOG = logging.getLogger(__name__)

SLICES = (200, 20, 1)
"""Devices to a question, and for those without an answer once more, and once more. States are 2 to 3 kB, so 200 are a seventh of the queue
that a client has; 20 of the longest that we take fit, and one fits beside telemetry that waits."""
ANSWER_S = 30.0
LOOK_EVERY_S = 1.0
MOST_WAITING = 1000
"""Messages that came and were not stored yet, beyond which nothing more is asked for: a fleet's states need not all be in memory."""


class ReadingBack:
    """Asks for the retained states in each connection. `met` may be called from every thread."""

    def __init__(self, broker: Broker, topics: Topics, database: Database, counters: Counters) -> None:
        self._broker, self._topics, self._database, self._counters = broker, topics, database, counters
        self._met: deque[str] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reading-back", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def met(self, names: Iterable[str]) -> None:
        """The broker retains the presence of these devices."""
        self._met.extend(names)

    def stop(self) -> None:
        """Ask for nothing more. To be called after `start`."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        session: int | None = None
        asked: set[str] = set()
        while not self._stopping.wait(LOOK_EVERY_S):
            now = self._broker.session
            if now is None:
                continue
            try:
                new = [name for name in self._names(anew=now != session) if now != session or name not in asked]
                if now != session:
                    session, asked = now, set()
                if new:
                    asked.update(new)
                    self._read(session, new)
            except Unavailable as error:  # in the next look everybody's is asked for
                self._database.outage.refused("reading back", error)
                session = None
            except Exception:  # nobody else looks after this thread; what was not asked for is asked for again
                LOG.exception("the retained states could not be read back")
                self._counters.add("reading_back_faults")
                session = None

    def _names(self, *, anew: bool) -> list[str]:
        """Return whose states to ask for: in a new connection everybody's, then of those that were met since."""
        met = [self._met.popleft() for _ in range(len(self._met))]
        if not anew:
            return list(dict.fromkeys(met))
        with self._database.read() as connection:
            known = devices.names(connection)
        self._database.outage.works("reading back")
        return list(dict.fromkeys([*known, *met]))

    def _read(self, session: int, names: Sequence[str]) -> None:
        left = list(names)
        for size in SLICES:
            unanswered: list[str] = []
            for some in _slices(left, size):
                if not self._may_go_on(session):
                    return
                answered = self._ask(some)
                unanswered += [name for name in some if name not in answered]
            left = unanswered
        self._counters.add("states_read_back", len(names) - len(left))
        LOG.info(
            "read back the states of %d devices; the broker retains none of %d others",
            len(names) - len(left),
            len(left),
        )

    def _may_go_on(self, session: int) -> bool:
        """Return whether the connection still stands, once what came before has been stored."""
        while self._broker.waiting > MOST_WAITING and self._broker.session == session:
            if self._stopping.wait(0.05):
                return False
        return not self._stopping.is_set() and self._broker.session == session

    def _ask(self, names: Sequence[str]) -> set[str]:
        topics = {self._topics.of_device(name, "state"): name for name in names}
        return {topics[topic] for topic in self._broker.read_retained(list(topics), ANSWER_S)}


def _slices(names: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while some := list(islice(rest, size)):
        yield some
