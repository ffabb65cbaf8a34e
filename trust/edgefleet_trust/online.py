"""The keys that the server signs with: what a region should run, freshness, and envelopes to devices.

A key that a rotation made waits in `online/next` until the rotation is published; it is opened with the others, and which
of two signs is decided by the key ids that the repository names.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

from securesystemslib.signer import Key, Signer

from edgefleet_protocol import dsse

from .errors import NotThere
from .files import Disk
from .keyfile import read_key, said_keyid
from .passphrase import Passphrase
from .roles import COMMANDS_KEY

NEXT, RETIRED = "next", "retired"


class OnlineKeys:
    """Signers by the name of their role; `commands` signs envelopes."""

    def __init__(self, signers: Mapping[str, Signer]) -> None:
        self._signers = dict(signers)
        self._waiting: dict[str, Signer] = {}
        self._place: Path | None = None
        self._secret: Passphrase | None = None
        self._seen: tuple[tuple[str, int], ...] = ()

    @classmethod
    def load(cls, folder: Path, passphrase: bytes) -> "OnlineKeys":
        """Return the keys below `folder/online` (or in `folder`, when it is that folder); raise KeyProblem or NotThere."""
        return cls.load_with(folder, Passphrase(passphrase))

    @classmethod
    def load_with(cls, folder: Path, secret: Passphrase) -> "OnlineKeys":
        """The same with a passphrase that was read already."""
        keys = cls({})
        keys._place, keys._secret = online_folder(folder), secret
        keys._open()
        return keys

    def signer(self, role: str, keyids: Collection[str] | None = None) -> Signer:
        """Return the signer of `role`; raise NotThere when this server has no such key.

        keyids: the ones that the repository names for it; a key of another id is not used.
        """
        if self._place is not None and self._listing() != self._seen:
            self._open()  # a rotation was made or published since, maybe by another process
        candidates = [keys[role] for keys in (self._signers, self._waiting) if role in keys]
        if not candidates:
            have = ", ".join(sorted(self._signers)) or "none"
            raise NotThere(f"there is no online key for {role}; there are {have}")
        for signer in candidates:
            if keyids is None or signer.public_key.keyid in keyids:
                return signer
        wanted = ", ".join(one[:8] for one in keyids or ())
        raise NotThere(
            f"the online key for {role} is {candidates[0].public_key.keyid[:8]} and the repository names {wanted}: it was "
            "rotated, and the new key lies elsewhere"
        )

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

    def settle(self, keyids: Mapping[str, Collection[str]], disk: Disk) -> None:
        """Move each waiting key whose id is in `keyids` into its place, and the one before it among the retired.

        keyids: by role, what the repository names now. Cut at any step, it is done by the next call.
        """
        if self._place is None:
            return
        for path in sorted((self._place / NEXT).glob("*.json")):
            if said_keyid(path) not in keyids.get(path.stem, ()):
                continue
            old = self._place / path.name
            if old.exists() and said_keyid(old) != said_keyid(path):
                (self._place / RETIRED).mkdir(mode=0o700, exist_ok=True)
                disk.put(self._place / RETIRED / f"{path.stem}-{said_keyid(old)[:8]}.json", old.read_bytes(), 0o600)
            # Copied and then removed: a rename across folders is two changes, and half of it would lose the key.
            disk.put(old, path.read_bytes(), 0o600)
            disk.remove(path)
            disk.sync(self._place / NEXT)

    def _listing(self) -> tuple[tuple[str, int], ...]:
        """What tells that a key came, went or was replaced: every change here is a rename."""
        assert self._place is not None
        files = [*self._place.glob("*.json"), *(self._place / NEXT).glob("*.json")]
        rows = []
        for path in files:
            try:
                rows.append((str(path), path.stat().st_ino))
            except FileNotFoundError:
                continue
        return tuple(sorted(rows))

    def _open(self) -> None:
        assert self._place is not None and self._secret is not None
        seen = self._listing()
        paths = sorted(self._place.glob("*.json"))
        if not paths:
            raise NotThere(
                f"no online key lies in {self._place}: it is the KEYS folder that `edgefleet trust init` made"
            )
        self._signers = {path.stem: read_key(path, self._secret) for path in paths}
        self._waiting = {
            path.stem: read_key(path, self._secret) for path in sorted((self._place / NEXT).glob("*.json"))
        }
        self._seen = seen


def online_folder(folder: Path) -> Path:
    """Return `folder/online`, or `folder` when it is that folder."""
    return folder / "online" if (folder / "online").is_dir() else folder
