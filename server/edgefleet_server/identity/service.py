"""The identity part of a running server: the door, and the daily hand that keeps its documents young."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

from edgefleet_trust.passphrase import Passphrase

from ..config import ServerConfig
from ..errors import BadConfig, ServerError
from ..ingest.counters import Counters
from ..regions.current import own_broker
from ..seams import Clock
from ..store import identities
from ..store.database import Database
from .authority import CRL_LIFE, WARN_BEFORE, Authority, read_crl, standings
from .desk import Assign, Desk
from .door import Door, Settings
from .listener import Listener
from .revoking import revoke_device

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 3600.0
CRL_EVERY = timedelta(days=1)


class Identities:
    """Enrolment, renewal, revocation and its list, while the server runs."""

    def __init__(
        self,
        config: ServerConfig,
        fleet: str,
        root: Callable[[], bytes],
        passphrase: Passphrase,
        *,
        database: Database,
        clock: Clock,
        counters: Counters,
        assign: Assign,
        on_crl: Callable[[], None] = lambda: None,
    ) -> None:
        """root: gives the pinned root of trust. on_crl: called after a new list lies in the folder: the broker must read it."""
        if config.identity is None:
            raise BadConfig("there is no [identity] folder: make it with edgefleet server identity init")
        where = config.enrolment
        self.authority = Authority.load(config.identity.folder, passphrase)
        self._database, self._clock, self._counters, self._on_crl = database, clock, counters, on_crl
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="identities", daemon=True)
        self.listener: Listener | None = None
        """None while `enrolment.port` is 0: nobody comes in."""
        if not where.port:
            return
        self.desk = Desk(self.authority, database, clock, counters, assign, on_crl)
        settings = Settings(
            fleet=fleet,
            url=where.url or f"https://{where.host}:{where.port}",
            broker_host=where.broker_host or config.broker.host,
            broker_port=where.broker_port or config.broker.port,
            root=root,
            broker_of=self._broker_of,
        )
        door = Door(self.desk, self.authority.certificate, settings)
        self.listener = Listener(where.host, where.port, config.identity.folder, door)

    def start(self) -> None:
        """Open the door, where there is one."""
        if self.listener is not None:
            self.listener.start()
        self._thread.start()

    def stop(self) -> None:
        """Close it."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        if self.listener is not None:
            self.listener.stop()

    def revoke_device(self, device: str, actor: str) -> tuple[str, ...]:
        """Put every certificate of `device` on the signed list; return their serials, none for one that never had any."""
        with self._database.write() as connection:
            serials = tuple(row.serial for row in identities.of_device(connection, device))
            if serials:
                revoke_device(connection, self.authority, device, actor, self._clock.now())
        return serials

    def _broker_of(self, region: str) -> tuple[str, int] | None:
        """Return the region's own broker, as its devices reach it, where a version of its settings names one."""
        with self._database.read() as connection:
            return own_broker(connection, region)

    def look(self) -> None:
        """Sign the revocation list anew when it is a day old; say what ends soon."""
        now = datetime.fromtimestamp(self._clock.now(), timezone.utc)
        end = read_crl(self.authority.folder).next_update_utc
        if end is None or (end - now) < CRL_LIFE - CRL_EVERY:
            self.authority.refresh_crl(now)
            self._on_crl()
        for row in standings(self.authority.folder):
            if row.left(now) < WARN_BEFORE:
                words = f"the {row.name} ends in {row.left(now).days} days: edgefleet server identity renew"
                LOG.warning("%s", words)
                self._counters.add("identity_ends_soon", reason=words)

    def _keep(self) -> None:
        while True:
            try:
                self.look()
            except (ServerError, OSError) as error:
                LOG.warning("the revocation list was not renewed: %s", error)
                self._counters.add("revocation_list_not_renewed", reason=str(error))
            if self._end.wait(LOOK_EVERY_S):
                return
