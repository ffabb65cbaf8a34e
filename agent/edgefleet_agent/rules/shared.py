"""What several models on one device share: trials, memory and the link. Pure, so that no model's trouble delays another's."""

from collections.abc import Container, Iterator, Mapping, Sequence

from edgefleet_protocol.manifest import Chunk

from ..steps import Step, Wait
from .seen import Desired, Observed, chosen, wished_name


def one_at_a_time(seen: Observed, want: Desired, now: float) -> Step | None:
    """One trial at a time: two would spoil each other's measurements, and memory is counted once."""
    if seen.may_try:
        return None
    why = f"{wished_name(want)} ({chosen(seen, want).name}) is tried after what another model has on trial"
    return Wait(why, until=now + 0.2, wants="trial")


def next_to_try(waiting: Mapping[str, float], trying: str | None) -> str | None:
    """Return the model whose turn it is to start a trial; None while one runs or nobody waits.

    waiting: since when each model waits, monotonic seconds. Who waited longest is first: a model that fails trial after
    trial gets at most every other one.
    """
    if trying is not None or not waiting:
        return None
    return min(waiting, key=lambda model: (waiting[model], model))


def memory_left(available_bytes: int | None, promised: Mapping[str, int], model: str) -> int | None:
    """Return what is free for `model` when every worker that still loads for another one takes what it may."""
    if available_bytes is None:
        return None
    return max(0, available_bytes - sum(size for other, size in promised.items() if other != model))


def in_turns(wanted: Mapping[str, Sequence[Chunk]], late: Container[str]) -> Iterator[Chunk]:
    """Yield chunks to ask for, one of each model after the other.

    late: digests of chunks that were asked for and do not come. A model that has such asks for one chunk at a time, behind
    the others, so that a download without end holds at most one place.
    """
    stuck = {model for model, chunks in wanted.items() if len(wanted) > 1 and any(row.sha256 in late for row in chunks)}
    rows = [list(chunks) for model, chunks in wanted.items() if model not in stuck]
    for place in range(max(map(len, rows), default=0)):
        yield from (row[place] for row in rows if place < len(row))
    yield from (_tried_least(wanted[model], late) for model in wanted if model in stuck)


def _tried_least(chunks: Sequence[Chunk], late: Container[str]) -> Chunk:
    return next((chunk for chunk in chunks if chunk.sha256 not in late), chunks[0])
