"""A database that refuses is told in two lines: one when it begins, and one when it is over, with what failed in between.

Many threads try again and again meanwhile, and each would say the same.
"""

import logging
import threading
import time
from collections import Counter

LOG = logging.getLogger(__name__)


class Outage:
    """Knows which parts are refused now. A part is whoever tries again by itself, and says so by its name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: set[str] = set()
        self._failed: Counter[str] = Counter()
        self._since_s = 0.0
        self.outages = 0
        """How many there were."""

    def refused(self, part: str, error: BaseException) -> None:
        """`part` could not do its work for a reason that passes: `error` is what the database said."""
        self._open(part, error, waits=True)

    def met(self, part: str, error: BaseException) -> None:
        """The same for what is not tried again here, as a request: it is over when the others are."""
        self._open(part, error, waits=False)

    def works(self, part: str) -> None:
        """`part` could do its work."""
        if not self._failed:  # nearly always, and without waiting for anybody
            return
        with self._lock:
            if not self._failed:
                return
            self._refused.discard(part)
            if self._refused:
                return
            failed, self._failed = self._failed, Counter()
            took_s = time.monotonic() - self._since_s
        said = ", ".join(f"{name} {count}" for name, count in sorted(failed.items()))
        LOG.warning(
            "the database works again, after %.0f s; meanwhile failed, and was tried again or told: %s", took_s, said
        )

    @property
    def since_s(self) -> float:
        """For how long it has refused somebody; 0 when it does not."""
        return time.monotonic() - self._since_s if self._failed else 0.0

    def _open(self, part: str, error: BaseException, *, waits: bool) -> None:
        with self._lock:
            first = not self._failed
            if first:
                self._since_s = time.monotonic()
                self.outages += 1
            self._failed[part] += 1
            if waits:
                self._refused.add(part)
        if first:
            LOG.error(
                "the database refuses (%s: %s); its end is told, with what failed until then", part, said_in(error)
            )


PASSING = ("08", "25006", "40", "53", "55", "57", "58", "XX001", "XX002")
"""Beginnings of an SQLSTATE that say nothing of what was asked: connection, a standby that only reads, rollback, resources,
not now, an operator's doing, the system, and files that are damaged."""


def passes(error: BaseException) -> bool:
    """Return whether what PostgreSQL's driver said is no fault of what was asked, and is to be tried again."""
    return str(getattr(error, "sqlstate", None) or "").startswith(PASSING)


def said_in(error: BaseException) -> str:
    """Return what the database itself said, in one line."""
    orig = getattr(error, "orig", None) or error
    return " ".join(str(orig).split())[:300] or type(orig).__name__
