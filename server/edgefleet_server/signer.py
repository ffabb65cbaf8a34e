"""What signs: the repository's folder and the unlocked online keys together."""

import os
from datetime import datetime

from edgefleet_protocol.rollout import Rollout
from edgefleet_trust.errors import TrustError
from edgefleet_trust.online import OnlineKeys
from edgefleet_trust.passphrase import ONLINE, passphrase_file, read_file
from edgefleet_trust.repository import Repository

from .errors import BadConfig


class OnlineSigner:
    """The server's own hand: it chooses among listed releases, and can list none."""

    def __init__(self, repository: Repository, keys: OnlineKeys) -> None:
        self._repository, self._keys = repository, keys

    def sign_rollout(self, rollout: Rollout, now: datetime) -> None:
        """Make `rollout` the region's current one."""
        self._repository.sign_rollout(rollout, self._keys, now)

    def refresh(self, now: datetime) -> bool:
        """Sign the timestamp anew when it is older than a day; return whether it did."""
        return self._repository.refresh(self._keys, now)

    def sign_envelope(self, payload_type: str, payload: bytes) -> bytes:
        """A DSSE envelope around `payload`, signed with the command key."""
        return self._keys.sign_envelope(payload_type, payload)


def online_passphrase() -> bytes:
    """Return the passphrase of the online keys from the file that the environment or systemd names; a server asks nobody."""
    path = passphrase_file(ONLINE, os.environ)
    if path is None:
        raise BadConfig(f"the online keys are locked: set {ONLINE} to the path of a file that holds their passphrase")
    try:
        return read_file(ONLINE, path)
    except TrustError as error:
        raise BadConfig(str(error)) from error
