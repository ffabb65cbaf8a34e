"""The revocation list's daily round: to the broker when it changed, read anew once a day, and an alarm long before it ends."""

import logging
import threading
from pathlib import Path

from ..config import BrokerConfig
from ..errors import ServerError
from ..ingest.counters import Counters
from ..seams import Clock
from .crl import ALARM_DAYS, put_in_place, until_s
from .reload import reload_broker

LOG = logging.getLogger(__name__)

LOOK_EVERY_S = 600.0
DAY_S = 86400.0


class ListKeeper:
    """One thread. `problem` and `days_left` are for /healthz; both None while there is no list to keep."""

    def __init__(self, config: BrokerConfig, clock: Clock, counters: Counters) -> None:
        self._config, self._clock, self._counters = config, clock, counters
        self._signed = signed_list(config)
        self._reloaded_s = clock.now()
        self._read: bytes | None = None
        """What the broker was last told to read. Not known at the start, so it is told then, which costs a moment."""
        self._looking = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="revocation list", daemon=True)
        self.problem: str | None = None
        self.days_left: float | None = None

    def start(self) -> None:
        """Begin to keep the list."""
        if self._signed is not None:
            self.look()
            self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def look(self) -> None:
        """Put a changed list in place and have it read, once; note what is wrong. To be called when a new one was signed, too."""
        if self._signed is None:
            return
        with self._looking:
            self._look(self._signed)

    def _look(self, signed: Path) -> None:
        now = self._clock.now()
        before = self.problem
        try:
            self.days_left = (until_s(signed) - now) / DAY_S
            where = self._config.crl or signed
            put_in_place(signed, where)
            data = where.read_bytes()
            if data != self._read or now - self._reloaded_s >= DAY_S:
                reload_broker(self._config)
                self._read, self._reloaded_s = data, now
            self.problem = alarm(self.days_left)
        except (ServerError, OSError) as error:
            self.problem = str(error)
        if self.problem is not None and self.problem != before:
            LOG.error("%s", self.problem)
            self._counters.add("revocation_list_alarms", reason=self.problem)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self.look()
            except Exception:  # without this thread the list would end one day and take every device with it
                LOG.exception("could not look after the revocation list")


def alarm(days_left: float) -> str | None:
    """Return what to say of a list that ends in so many days, or None while there is time. Pure."""
    if days_left > ALARM_DAYS:
        return None
    what = f"ends in {days_left:.0f} days" if days_left > 0 else f"ended {-days_left:.0f} days ago"
    return (
        f"the revocation list {what}, and with a list past its time the broker lets no device in. It is signed anew daily where "
        "the server has the authority's passphrase: see why that does not happen"
    )


def signed_list(config: BrokerConfig) -> Path | None:
    """Return where the authority signs the list: beside the authority's certificate; None for an open broker."""
    return None if config.ca is None else config.ca.parent / "crl.pem"
