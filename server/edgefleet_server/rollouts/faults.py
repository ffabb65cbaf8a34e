"""What could not be done, said once in the log and counted every time."""

import logging

from ..ingest.counters import Counters

LOG = logging.getLogger(__name__)


def fault(counters: Counters, name: str, reason: str) -> None:
    """Count a fault: each turn meets it again, so the log says it when it is new."""
    if counters.reasons().get(name) != reason[:500]:
        LOG.exception(reason)
    counters.add(name, reason=reason)
