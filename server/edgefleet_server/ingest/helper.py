"""A process that takes telemetry beside the server: `edgefleet server ingest`. States, events and replies stay the server's."""

import logging
import threading
import time
from pathlib import Path

from edgefleet_protocol.topics import HUB, Topics

from ..beating import Beat
from ..broker import access, strangers
from ..config import BrokerConfig, ServerConfig
from ..errors import BadConfig
from ..link.broker import Broker
from ..link.inbox import Incoming
from ..link.tls import Tls
from ..regions.current import Residency
from ..regions.gone import GoneWatch
from ..seams import Clock, WallClock
from ..store.database import Database
from .counters import Counters
from .intake import Intake
from .lane import Lane
from .subscriptions import is_shared, of_helper

LOG = logging.getLogger(__name__)

BATCH = 400
DRAIN_S = 30.0
"""To leave in good order; a database that is stuck is not waited for longer."""
TELL_EVERY_S = 60.0


def name_of(number: int) -> str:
    """Return what process `number` is called in its certificate; the server itself is the first."""
    return f"{HUB}-{number}"


class Helper:
    """One further ingest process. `with Helper(config, 2) as helper:` takes; at its end it leaves the others its share."""

    def __init__(self, config: ServerConfig, fleet: str, number: int, clock: Clock | None = None) -> None:
        """fleet: its name. Raises BadConfig where there can be one process only, or no certificate is there for this one."""
        access.check(config.broker)
        if not is_shared(config):
            raise BadConfig(
                "telemetry comes by a plain subscription here, which each process would get whole: where the broker is Mosquitto or "
                "another that knows shared ones, write shared = true below [ingest], and start the server anew"
            )
        self.counters, self._stopping = Counters(), threading.Event()
        topics, tls = Topics(fleet), _tls(config.broker, number)
        self.database = Database(config.place, helper="ingest")
        try:
            self.database.hold_number(number)
        except BaseException:
            self.database.close()
            raise
        self.broker = Broker(
            config.broker.host,
            config.broker.port,
            f"edgefleet-{name_of(number)}-{fleet}",
            of_helper(topics),
            on_dropped=lambda topic: self.counters.add("messages_dropped", reason=f"{topic}: too much waits already"),
            on_put_off=lambda: self.counters.add("messages_put_off"),
            tls=tls,
            why_not=lambda: strangers.look(config.broker, topics),
        )
        # What a device says that is gone is for nobody; the server notices it by whatever else it says.
        gone = GoneWatch(self.database, clock or WallClock())
        self.intake = Intake(
            topics,
            self.database,
            clock or WallClock(),
            self.counters,
            config.longest_keep,
            Residency(config),
            gone.is_gone,
        )
        self._lane = Lane(self.intake, self.broker.done, self.counters, self._stopping, self.database.outage)
        self._beat = Beat(
            self.database,
            clock or WallClock(),
            name_of(number),
            "ingest",
            lambda: {"taken": self.counters.get("windows_taken")},
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    def __enter__(self) -> "Helper":
        self._beat.start()
        self._lane.start()
        self.broker.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # What waits at the broker for whoever shares a subscription waits for it alone: so it leaves, takes what is on its way,
        # and the others get the rest. One that was killed gets its own when it is back.
        self._drain()
        self._ended.set()
        self._thread.join(timeout=10)
        self._lane.stop()
        self._stopping.set()
        self.broker.stop()
        self._beat.stop()
        self.database.close()

    def _drain(self) -> None:
        """Leave the shared subscription, and take what was on its way: until the broker, asked again, had nothing more."""
        deadline = time.monotonic() + DRAIN_S
        while time.monotonic() < deadline and self.broker.session is not None:
            came = self.broker.received
            left = self.broker.leave(deadline - time.monotonic())
            if left and came == self.broker.received == self._lane.stored:
                return
            self._stopping.wait(0.1)
        LOG.warning("not all that was on its way could be taken; it comes when this process runs again")

    def wait(self, ended: threading.Event) -> None:
        """Return once `ended` is set; say now and then what was taken."""
        while not ended.wait(TELL_EVERY_S):
            LOG.info("since the start: %s", ", ".join(f"{n} {name}" for name, n in self.counters.snapshot().items()))

    def _run(self) -> None:
        while not self._ended.is_set():
            batch: list[Incoming] = []
            message = self.broker.receive(timeout_s=0.2)
            while message is not None:
                batch.append(message)
                message = self.broker.receive(timeout_s=0.0) if len(batch) < BATCH else None
            if batch:
                self._lane.take(batch)


def _tls(broker: BrokerConfig, number: int) -> Tls | None:
    """Return the process's own certificate, which lies beside the server's: a broker lets one connection to each."""
    if broker.ca is None or broker.certificate is None:
        return None
    certificate = broker.certificate.with_name(f"{name_of(number)}.pem")
    key: Path = broker.certificate.with_name(f"{name_of(number)}.key")
    for path in (certificate, key):
        if not path.is_file():
            raise BadConfig(
                f"{path} is not there: each process has a certificate of its own. Make it where the authority is, with edgefleet "
                f"server identity ingest --number {number}, and the access list anew, with edgefleet server broker config"
            )
    return Tls(broker.ca, certificate, key)
