"""What comes next for a rollout, by the facts of this moment: for whoever moves it, and for whoever asks."""

from ..store.rollouts import Record
from . import waves
from .decide import Move, decide
from .emptiness import is_empty
from .looking import Looker, Weighed


def next_move(looker: Looker, record: Record, now: float) -> tuple[Move, Weighed]:
    """Return the next move of a rollout, and what it follows from; nothing is stored but what was compared."""
    weighed = looker.weigh(record)
    proven = sum(row.standing == "proven" for row in weighed.evidence)
    compared = looker.compare(record, weighed)
    empty = not record.is_last_stage and is_empty(record.assignment, weighed.fleet)
    return decide(record, weighed.counts, proven, now, compared, _wave(record, weighed), empty=empty), weighed


def _wave(record: Record, weighed: Weighed) -> waves.Wave | None:
    if record.status != "running" or record.assignment.opened_percent is None:
        return None
    rows = waves.newcomers(record.assignment, weighed.fleet)
    return waves.opening(record.assignment, rows, waves.under_way(weighed.evidence))
