"""Is a message older than what is known? Pure."""

from ..store.devices import Device


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
    elif session < known.session and at_s < known.state.at_s:
        return f"session {session} of another boot, and session {known.session} is known and later"
    return None


def stale_presence(known: Device | None, session: int) -> str | None:
    """Return why a presence is older than what is known, or None. A will of an old connection may come late."""
    if known is not None and session < known.session:
        return f"session {session}, and session {known.session} is known"
    return None
