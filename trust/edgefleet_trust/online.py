"""The keys that the server signs with: what a region should run, freshness, and envelopes to devices."""

from collections.abc import Mapping
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Key

from edgefleet_protocol import dsse

from .errors import NotThere
from .keyfile import read_key
from .passphrase import Passphrase
from .roles import COMMANDS_KEY


class OnlineKeys:
    """Signers by the name of their role; `commands` signs envelopes."""

    def __init__(self, signers: Mapping[str, CryptoSigner]) -> None:
        self._signers = dict(signers)

    @classmethod
    def load(cls, folder: Path, passphrase: bytes) -> "OnlineKeys":
        """Return the keys below `folder/online` (or in `folder`, when it is that folder); raise KeyProblem or NotThere."""
        return cls.load_with(folder, Passphrase(passphrase))

    @classmethod
    def load_with(cls, folder: Path, secret: Passphrase) -> "OnlineKeys":
        """The same with a passphrase that was read already."""
        place = folder / "online" if (folder / "online").is_dir() else folder
        paths = sorted(place.glob("*.json"))
        if not paths:
            raise NotThere(f"no online key lies in {place}: it is the KEYS folder that `edgefleet trust init` made")
        return cls({path.stem: read_key(path, secret) for path in paths})

    def signer(self, role: str) -> CryptoSigner:
        """Return the signer of `role`; raise NotThere when this server has no such key."""
        if role not in self._signers:
            raise NotThere(f"there is no online key for {role}; there are {', '.join(sorted(self._signers)) or 'none'}")
        return self._signers[role]

    def public(self, role: str) -> Key:
        """Return the public half of the key of `role`."""
        return self.signer(role).public_key

    def sign_envelope(self, payload_type: str, payload: bytes) -> bytes:
        """Return a DSSE envelope around `payload`, signed with the command key."""
        signer = self.signer(COMMANDS_KEY)
        return dsse.seal(
            payload_type,
            payload,
            signer.public_key.keyid,
            lambda message: bytes.fromhex(signer.sign(message).signature),
        )
