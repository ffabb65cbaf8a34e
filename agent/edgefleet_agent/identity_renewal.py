"""Keeps the device's certificate young while the agent runs, beside its turns and never in their way.

A child fetches the next pair (`enrol.renew`); the link tries it; once it has connected, it takes the old one's place.
Whatever goes wrong, the old pair stays and what serves goes on.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .enrol_boot import retry_s
from .enrol_try import Outcome, Try
from .errors import BadIdentity
from .identity import Identity, Pair
from .identity_files import take_next
from .log import LOG

FIRST_S = 5.0
"""After the start: what serves comes first."""
AT_LEAST_EVERY_S = 86400.0
"""The wall's clock may be set meanwhile, so the certificate is looked at every day."""
POLL_S = 0.5
TRY_OTHER_S = 300.0
"""Without a connection for so long, the other of two pairs is tried: the network may be gone, or the pair not taken."""


class _Link(Protocol):
    def connected_session(self) -> int | None:
        """The number of the connection, or None."""

    def use_certificate(self, certificate: Path, key: Path) -> None:
        """Connect anew with this pair."""


class Renewal:
    """One for each agent that has an identity."""

    def __init__(self, state: Path, link: _Link, start: float, dice: Callable[[], float] = random.random) -> None:
        """start: monotonic seconds."""
        self._state, self._link, self._dice = state, link, dice
        self._try: Try | None = None
        self._due = start + FIRST_S
        self._failures = 0
        self._told = ""
        self._candidate: Pair | None = None
        """The renewed pair that has not connected yet."""
        self._trying = False
        """Whether the link uses it now, and not the old one."""
        self._session_before: int | None = None
        self._connected_at = start
        """When there was a connection, or the pair was changed."""
        self._offer(start)

    def step(self, now: float, wall_s: float) -> float:
        """Do what there is to do; return when to come again. now: monotonic; wall_s: the best known time since 1970."""
        try:
            self._settle_candidate(now)
        except (BadIdentity, OSError) as error:
            self._tell(f"the renewed certificate cannot be taken over: {error}")
        if self._try is None and now >= self._due:
            self._try = Try("renew", self._state, "--now", repr(wall_s))
        if self._try is None:
            return min(self._due, now + (1.0 if self._candidate is not None else AT_LEAST_EVERY_S))
        ended = self._try.outcome()
        if ended is None:
            return now + POLL_S
        self._try = None
        self._after(ended, now)
        return now

    def stop(self) -> None:
        """End a child that is under way."""
        if self._try is not None:
            self._try.stop()

    def _after(self, ended: Outcome, now: float) -> None:
        if ended.outcome == "done":
            self._failures, self._told = 0, ""
            self._due = now + min(max(ended.after_s, 60.0), AT_LEAST_EVERY_S)
            self._offer(now)
            return
        self._tell(f"the certificate was not renewed: {ended.words}")
        self._due = now + 60.0 + retry_s(self._failures, self._dice)
        self._failures += 1

    def _offer(self, now: float) -> None:
        """Let the link try a renewed pair, when there is one."""
        try:
            identity = Identity.load(self._state)
            pair = identity.next_pair() if identity is not None else None
            if pair is None or self._candidate == pair:
                return
            self._use(pair, now)
        except (BadIdentity, OSError) as error:  # ssl.SSLError is an OSError
            self._tell(f"the renewed certificate cannot be used: {error}")
            return
        self._candidate, self._trying = pair, True
        LOG.info("the certificate is renewed; connecting with the new one")

    def _settle_candidate(self, now: float) -> None:
        session = self._link.connected_session()
        if session is not None:
            self._connected_at = now
        if self._candidate is None:
            return
        identity = Identity.load(self._state)
        if identity is None:
            return
        if self._trying and session is not None and session != self._session_before:
            take_next(identity.folder)
            self._candidate = None
            LOG.info("connected with the new certificate; the old one is gone")
        elif now - self._connected_at > TRY_OTHER_S:
            self._trying = not self._trying
            self._use(self._candidate if self._trying else identity.pair, now)

    def _use(self, pair: Pair, now: float) -> None:
        self._session_before = self._link.connected_session()
        self._link.use_certificate(pair.certificate, pair.key)
        self._connected_at = now

    def _tell(self, words: str) -> None:
        if words != self._told:
            self._told = words
            LOG.warning("%s; what serves goes on", words)
