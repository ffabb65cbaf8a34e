"""Is a message older than what is known, or further ahead than anything can be? Pure."""

from ..store.devices import Device

SESSIONS_AHEAD = 1_000_000_000_000
"""Since the server last heard of a device. An agent counts a million for each of its starts, so this is a million starts:
one that is started anew all day while it has no broker, or that a new database has never heard of, is far below."""
ASSIGNMENTS_AHEAD = 1_000
"""A database that was restored from a backup may have forgotten so many assignments that a device holds."""


def beyond_belief(known: Device | None, session: int, assignment_number: int = 0) -> str | None:
    """Return why what a device counts cannot be, in words, or None.

    What is taken as known can never be counted below again: one absurd number, and nothing that the device says later
    would be news, or no assignment that the server gives would be newer than what it claims to hold.
    """
    last, given = (known.session, known.assigned_number) if known else (0, 0)
    if session > last + SESSIONS_AHEAD:
        return f"session {session}, where {last} is known"
    if assignment_number > given + ASSIGNMENTS_AHEAD:
        return f"assignment {assignment_number}, where the server gave {given}"
    return None


def stale_state(known: Device | None, session: int, boot: str, at_s: float) -> str | None:
    """Return why a state is older than the one that is known, in words, or None when it is news.

    Within one boot the session counts up. After a reboot the device's clock may be at 1970, so only a state that is
    older by session *and* by clock is stale.
    """
    if known is None or known.state is None:
        return None
    if boot == known.boot:
        # Not by clock: messages of one session come in order, and its clock may be set back.
        if session < known.session:
            return f"session {session}, and session {known.session} is known"
    # Not beyond when the known one came: a clock that was far ahead once would make every later state stale.
    elif session < known.session and at_s < min(known.state.at_s, known.state_at_s or known.state.at_s):
        return f"session {session} of another boot, and session {known.session} is known and later"
    return None


def stale_presence(known: Device | None, session: int) -> str | None:
    """Return why a presence is older than what is known, or None. A will of an old connection may come late."""
    if known is not None and session < known.session:
        return f"session {session}, and session {known.session} is known"
    return None
