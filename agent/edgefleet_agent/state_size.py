"""A device's state always fits into one message. Pure.

What a state says of the past goes first, the oldest first: measurements, failures, then long words. Which release runs, is
wished and is proven is never cut.
"""

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import MAX_MESSAGE_BYTES, DeviceState, ModelState

MAX_MODELS = 64
"""What the protocol lets a state name."""
CUT = "…"

Trim = Callable[[DeviceState], DeviceState]


def fitted(state: DeviceState, limit_bytes: int = MAX_MESSAGE_BYTES) -> DeviceState:
    """Return `state`, trimmed as little as needed so that its JSON has at most `limit_bytes`."""
    if len(state.models) > MAX_MODELS:  # those that are wished first; within each, by name
        first = sorted(state.models, key=lambda row: (row.phase == "idle", row.model))[:MAX_MODELS]
        state = replace(state, models=tuple(sorted(first, key=lambda row: row.model)))
    for trim in _trims():
        if len(encode(state)) <= limit_bytes:
            return state
        state = trim(state)
    while len(encode(state)) > limit_bytes and state.models:
        state = replace(state, models=state.models[:-1])
    return state


def _trims() -> Iterator[Trim]:
    """Yield what is given up, in this order."""
    for keep in (16, 8, 4, 2):
        yield _latest(keep)
    yield _clip(500)
    yield _clip(120)
    yield _latest(1)
    yield lambda state: replace(state, limits_held={}, trust_problem=_clipped(state.trust_problem or "", 500) or None)
    yield _clip(40)
    yield _models(lambda row: replace(row, measured=(), previous=None, chosen_why=""))
    yield _models(lambda row: replace(row, failures=()))


def _models(change: Callable[[ModelState], ModelState]) -> Trim:
    return lambda state: replace(state, models=tuple(change(row) for row in state.models))


def _latest(count: int) -> Trim:
    return _models(lambda row: replace(row, measured=row.measured[-count:], failures=row.failures[-count:]))


def _clip(characters: int) -> Trim:
    return _models(
        lambda row: replace(
            row,
            why=_clipped(row.why, characters),
            chosen_why=_clipped(row.chosen_why, characters),
            pinned=_clipped(row.pinned, characters) if row.pinned else None,
            held=_clipped(row.held, characters) if row.held else None,
            governed=_clipped(row.governed, characters) if row.governed else None,
            quarantined=_clipped(row.quarantined, characters) if row.quarantined else None,
            leases=tuple(_clipped(words, characters) for words in row.leases),
            failures=tuple(replace(one, reason=_clipped(one.reason, characters)) for one in row.failures),
        )
    )


def _clipped(text: str, characters: int) -> str:
    """Return the beginning of a text; whole characters, so that it stays UTF-8."""
    return text if len(text) <= characters else text[: characters - len(CUT)] + CUT
