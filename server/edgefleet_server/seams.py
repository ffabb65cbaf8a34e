"""What the server needs of the outside: the repository of signed releases, the keys that sign, and the clock.

`edgefleet_trust` has the real ones; tests that are about something else may bring smaller ones.
"""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import ReleaseRef, Rollout


class Repository(Protocol):
    """The signed releases, and what each region should run."""

    @property
    def fleet(self) -> str:
        """The fleet's name."""

    def regions(self) -> tuple[str, ...]:
        """The regions that have a rollout role."""

    def releases(self) -> Mapping[str, ReleaseRef]:
        """Listed releases, by `fashion/1`."""

    def manifest(self, ref: ReleaseRef) -> tuple[Release, bytes]:
        """The release that `ref` names, and its signed bytes."""

    def rollout(self, region: str) -> Rollout | None:
        """What the region should run now, or None before its first rollout."""

    def metadata(self) -> Mapping[str, bytes]:
        """Everything for `trust/` topics, in the order in which it must be published."""

    def targets(self) -> Mapping[str, bytes]:
        """By SHA-256: the documents that the current rollouts need."""

    def chunk(self, sha256: str) -> bytes | None:
        """A chunk's payload, or None when no release has it."""

    def version_stamp(self) -> str:
        """Changes whenever anything to publish changed."""


class Signer(Protocol):
    """Signs what a region should run. Apart from Repository, because only the controller may."""

    def sign_rollout(self, rollout: Rollout, now: datetime) -> None:
        """Make `rollout` the region's current one."""

    def refresh(self, now: datetime) -> bool:
        """Sign the timestamp anew when it is older than a day; return whether it did."""

    def sign_envelope(self, payload_type: str, payload: bytes) -> bytes:
        """A DSSE envelope around `payload`, signed with the command key."""


class Clock(Protocol):
    """The wall's clock."""

    def now(self) -> float:
        """Seconds since 1970."""


class WallClock:
    """The machine's own."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()
