"""One thread that looks at the fleet, asks the rules, keeps what they say, and has people told."""

import logging
import threading

from ..ingest.counters import Counters
from ..seams import Clock
from ..store import alerts
from ..store.database import Database, Unavailable
from .config import AlertsConfig
from .gather import Gatherer
from .judge import judge
from .tell import Teller, Told, Way, mail, webhook

LOG = logging.getLogger(__name__)
TOLD = ("open", "grew", "resolve")


class Watch:
    """Looks every `look_s`."""

    def __init__(
        self, config: AlertsConfig, gatherer: Gatherer, database: Database, clock: Clock, counters: Counters, fleet: str
    ) -> None:
        self._config, self._gatherer, self._database, self._clock = config, gatherer, database, clock
        self._counters, self._fleet = counters, fleet
        ways: dict[str, Way] = {}
        if config.webhook.url:
            ways["webhook"] = webhook(config.webhook)
        if config.mail.host:
            ways["mail"] = mail(config.mail)
        self.teller = Teller(ways, counters)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self.teller.start()
        self._thread.start()

    def stop(self) -> None:
        """End after the look at hand."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)
            self.teller.stop()

    def look(self) -> None:
        """Look once."""
        facts, now = self._gatherer.gather(), self._clock.now()
        with self._database.read() as connection:
            before = alerts.unresolved(connection)
        changes = judge(facts, self._config.rules, before, now)
        if not changes:
            return
        with self._database.write() as connection:
            stored = [(change.kind, alerts.apply(connection, change)) for change in changes]
        for kind, alert in stored:
            if kind not in TOLD:
                continue
            LOG.log(
                logging.INFO if kind == "resolve" else logging.WARNING, "alert %d %s: %s", alert.id, kind, alert.text
            )
            # Whoever asked for silence, or has it in hand and knows, is not told again; its end is always told.
            if kind == "resolve" or not (alert.silenced(now) or (kind == "grew" and alert.acknowledged_s)):
                self.teller.tell(Told(kind, alert, self._fleet, now))

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
                self._database.outage.works("alerts")
            except Unavailable as error:
                self._database.outage.refused("alerts", error)
                self._counters.add("alert_faults", reason=str(error))
            except Exception as error:  # a full disk, a repository that is changed just now: look again
                if self._counters.reasons().get("alert_faults") != str(error)[:500]:
                    LOG.exception("the rules could not be asked")
                self._counters.add("alert_faults", reason=str(error))
            self._stopping.wait(self._config.look_s)
