"""The one server, as a process beside it sees it: by the lock that it holds and by what it says of itself, both in the database."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..beating import SERVER, SILENT_S, Heard
from ..errors import ServerError
from ..store import processes
from ..store.database import Database, Unavailable, is_served

LOG = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Seen:
    """What was seen at the last look. `away`: why the server is taken for gone, None while it is there."""

    away: str | None = "nobody has looked yet"
    says: Mapping[str, Any] = field(default_factory=dict)
    database: bool = False
    """Whether the database answered."""

    @property
    def connected(self) -> bool:
        """Whether the server is there and has its broker."""
        return self.away is None and bool(self.says.get("broker_connected"))


class MainServer:
    """Looks every second in a thread of its own, so that whoever asks waits for nothing."""

    def __init__(
        self, database: Database, address: str, on_other_form: Callable[[str], None] = lambda why: None
    ) -> None:
        """address: where it is, as server.toml says; empty: as it says itself. on_other_form: is told once why this version's
        process cannot go on over the database."""
        self._database, self._address, self._on_other_form = database, address, on_other_form
        self.heard = Heard()
        self._seen = Seen()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="main-server", daemon=True)

    def start(self) -> None:
        """Begin to look; the first look is over when it returns."""
        self.look()
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    @property
    def seen(self) -> Seen:
        """What was seen at the last look."""
        return self._seen

    @property
    def address(self) -> str:
        """Where the server is asked; empty while nobody knows."""
        return self._address or str(self._seen.says.get("address") or "")

    def look(self) -> None:
        """Look once. While the database is away, nothing is known of the server."""
        before = self._seen
        try:
            with self._database.read() as connection:
                served = is_served(connection)
                rows = processes.every(connection)
            self._database.outage.works("look at the server")
        except Unavailable as error:
            self._database.outage.refused("look at the server", error)
            self._seen = Seen("the database is away, and with it what the server says", before.says)
            return
        silent_s = self.heard.look(rows).get(SERVER, 0.0)
        away = None
        if not served:
            away = "no server has the database"
        elif silent_s > SILENT_S:
            away = f"the server has the database, and has said nothing for {silent_s:.0f} s"
        says = next((row.says for row in rows if row.name == SERVER), {})
        self._seen = Seen(away, says, database=True)
        if (away is None) != (before.away is None):
            LOG.warning("the server is %s", "here" if away is None else f"away: {away}")

    def _run(self) -> None:
        checked_s = time.monotonic()
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self.look()
                if time.monotonic() - checked_s > SILENT_S and self._seen.database:
                    checked_s = time.monotonic()
                    self._database.check_form()
            except ServerError as error:  # it was brought to a newer form: what this version would write is another's
                self._on_other_form(str(error))
                return
            except Unavailable as error:
                self._database.outage.refused("look at the server", error)
            except Exception:
                LOG.exception("could not look at the server")
