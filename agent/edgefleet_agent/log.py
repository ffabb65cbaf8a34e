"""What a person reads on standard error: one line for each event, each connection, each trouble.

The standard library's `logging`, which paho imports anyway. Only `agent run` sets it up; elsewhere the lines go nowhere.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO

LOG = logging.getLogger("edgefleet.agent")
LOG.addHandler(logging.NullHandler())  # without one, Python prints warnings of whoever set nothing up

LEVELS = ("debug", "info", "warning", "error")
TROUBLE = (
    "bad-chunk",
    "cannot-serve",
    "command-refused",
    "damaged",
    "failed",
    "fell-back",
    "no-space",
    "refused",
    "store-damaged",
)
"""Kinds of events that are told as warnings, with `worker-died` and all that end in `-failed`."""

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3}
"""As the journal reads them at the beginning of a line: sd-daemon(3)."""


def level_of(kind: str) -> int:
    """Return the level of a line that tells of an event."""
    trouble = kind in TROUBLE or kind == "worker-died" or kind.endswith("-failed")
    return logging.WARNING if trouble else logging.INFO


@contextlib.contextmanager
def printing(level: str) -> Iterator[None]:
    """Print lines of `level` and above on standard error, as long as the block lasts."""
    printer, before = logging.StreamHandler(sys.stderr), LOG.level
    printer.setFormatter(Lines(sys.stderr))
    LOG.addHandler(printer)
    LOG.setLevel(level.upper())
    try:
        yield
    finally:
        LOG.removeHandler(printer)
        LOG.setLevel(before)


class Lines(logging.Formatter):
    """One line for one message, fit for where it goes.

    On a terminal it begins with the time of day. The systemd journal has its own time, and gets the priority. Anything
    else, a file or a pipe, gets the bare line.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__("%(asctime)s %(message)s" if stream.isatty() else "%(message)s", "%H:%M:%S")
        self._journal = goes_to_journal(stream)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. What others sent may be quoted in it, so nothing in it moves a terminal's cursor."""
        text = "".join(one if one.isprintable() else " " for one in super().format(record))
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{text}" if self._journal else text


def goes_to_journal(stream: TextIO) -> bool:
    """Return whether the journal reads `stream`: JOURNAL_STREAM names its device and inode, see systemd.exec(5)."""
    try:
        info = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{info.st_dev}:{info.st_ino}"
