"""The last lines of the agent's log, kept in memory so that they can be asked for: nothing is written to the card for it."""

import logging
import time
from collections import deque

from .log import LOG

KEPT_LINES = 500
LONGEST = 400
"""Characters of a line: together at most 200 kB, and usually a quarter of that."""


class Logbook(logging.Handler):
    """Keeps the last lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line, with the time by the device's clock."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        self.lines.append(f"{at} {record.levelname.lower()} {record.getMessage()[:LONGEST]}")


def keep() -> Logbook:
    """Begin to keep lines; return where they are."""
    book = Logbook()
    LOG.addHandler(book)
    return book


def recent() -> tuple[str, ...]:
    """Return the lines that are kept, the oldest first; none where nobody keeps them."""
    return next((tuple(row.lines) for row in LOG.handlers if isinstance(row, Logbook)), ())
