"""Who is behind a request: its token, looked up anew each time, so that a revoked one is good for nothing at once."""

import threading
from collections import deque

from ..errors import NoToken
from ..ingest.counters import Counters
from ..seams import Clock
from ..store import audit, tokens
from ..store.database import Database
from .actor import LOCAL, Actor
from .rights import ROLES

WRONG_PER_MINUTE = 20
"""So many wrong tokens are written down; the rest is counted. Whoever guesses must not fill the disk."""
HINT = (
    "make one on the server's machine with: edgefleet server token new NAME --role viewer --config server.toml "
    "(the first of all: edgefleet server admin new NAME --config server.toml), and hand it over in EDGEFLEET_TOKEN_FILE "
    "or EDGEFLEET_TOKEN"
)


class Door:
    """Knows everybody by their token. `open`: everybody on this machine may do everything."""

    def __init__(self, database: Database, clock: Clock, counters: Counters, *, open: bool) -> None:
        self._database, self._clock, self._counters, self._open = database, clock, counters, open
        self._lock = threading.Lock()
        self._wrong: deque[float] = deque(maxlen=WRONG_PER_MINUTE)

    def who(self, authorization: str | None) -> Actor:
        """Return who sent the header `Authorization: Bearer ef_…`; raise NoToken for none, and for one that is not good."""
        if authorization is None:
            if self._open:
                return LOCAL
            self._counters.add("requests_without_token")
            raise NoToken(f"this server asks for a token: {HINT}")
        scheme, _, secret = authorization.partition(" ")
        token, now = None, self._clock.now()
        if scheme.lower() == "bearer" and secret.startswith(tokens.PREFIX):
            with self._database.read() as connection:
                token = tokens.of_secret(connection, secret)
        if token is None:
            self._refuse("somebody", "this token was never given here, or its line was damaged on the way", now)
        elif why := token.ended(now):
            self._refuse(token.name, f"token {token.id} of {token.name} {why}", now)
        else:
            # A role of a later version, after a step back to this one, may do nothing.
            return Actor(token.name, ROLES.get(token.role, frozenset()), token.regions)  # type: ignore[call-overload]
        raise AssertionError

    def _refuse(self, name: str, why: str, now: float) -> None:
        self._counters.add("requests_with_wrong_token", reason=why)
        with self._lock:
            write = len(self._wrong) < WRONG_PER_MINUTE or now - self._wrong[0] > 60.0
            if write:
                self._wrong.append(now)
        if write:
            with self._database.write() as connection:
                audit.add(connection, audit.AuditRow(now, name, "token.use", None, "", f"refused: {why}"))
        raise NoToken(f"{why}: {HINT}")
