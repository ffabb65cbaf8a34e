"""What a replica cannot do, because it has no keys and no broker: each refuses before anything is changed, and says where to ask."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NoReturn

from edgefleet_protocol.rollout import Rollout

from ..errors import NotHere
from ..regions.gone import Decommissioner, Done, Step
from ..store.decommissioned import Kept


class Elsewhere:
    """Refuses. `address()`: where the server is asked, empty while nobody knows."""

    def __init__(self, address: Callable[[], str]) -> None:
        self._address = address

    def refuse(self, what: str) -> NoReturn:
        """Raise NotHere for `what`."""
        raise NotHere(what, self._address())


class NoSigner:
    """A signer without a key."""

    def __init__(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere

    def sign_rollout(self, rollout: Rollout, now: datetime) -> None:
        """Refuse."""
        self._elsewhere.refuse("a rollout document is signed")

    def refresh(self, now: datetime) -> bool:
        """Refuse."""
        self._elsewhere.refuse("the timestamp is signed")

    def sign_envelope(self, payload_type: str, payload: bytes) -> bytes:
        """Refuse: a command, or where a device belongs."""
        self._elsewhere.refuse("what a device is told is signed")


class NoRevocation:
    """Cuts nobody off: the authority's key and the broker are the server's."""

    def __init__(self, elsewhere: Elsewhere) -> None:
        self._elsewhere = elsewhere

    def cut_off(self, device: str, actor: str) -> Sequence[Done]:
        """Refuse."""
        self._elsewhere.refuse("a certificate is revoked")


class NoDecommissioner(Decommissioner):
    """Takes nobody out, which begins with the database and ends with certificates; letting a name in again is the database's alone."""

    elsewhere: Elsewhere

    def decommission(self, device: str, actor: str, kept: Kept, why: str) -> tuple[Step, ...]:
        """Refuse."""
        self.elsewhere.refuse("a certificate is revoked")
