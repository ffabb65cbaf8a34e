"""Who this device is: its key, its certificate, and what it was told when it enrolled. Read here, written by `identity_files`.

`STATE/identity/` holds `key.pem`, `certificate.pem`, `ca.pem`, `root.json` and `enrolment.json`. A renewal lies in `next/`
until it has connected once; one that is being taken over lies in `taking/`, whose files count before those beside it.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgefleet_protocol import dsse
from edgefleet_protocol.names import DeviceId, FleetName, RegionName

from .errors import BadIdentity

FOLDER, NEXT, TAKING = "identity", "next", "taking"
KEY, CERTIFICATE, CA, ROOT, ENROLMENT = "key.pem", "certificate.pem", "ca.pem", "root.json", "enrolment.json"
HTTPS_CA = "https-ca.pem"
"""Of an enrolment server that is not ours and whose own certificate another authority made."""


class BrokerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the device's broker is."""

    host: str
    port: int


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """What the device was told: `enrolment.json`."""

    device: DeviceId
    fleet: FleetName
    broker: BrokerAddress
    url: str
    region: RegionName | None = None
    board: str | None = None
    """The board's serial, as it was said at enrolling."""
    at_s: float = 0.0
    """When, by the device's clock."""
    format: int = 1


@dataclass(frozen=True)
class Pair:
    """A key and its certificate."""

    key: Path
    certificate: Path

    @classmethod
    def within(cls, folder: Path) -> "Pair":
        """The pair of a folder."""
        return cls(folder / KEY, folder / CERTIFICATE)


class Identity:
    """An identity that is whole."""

    def __init__(self, folder: Path, enrolment: Enrolment) -> None:
        self.folder, self.enrolment = folder, enrolment
        self._key: Any = None

    @classmethod
    def load(cls, state: Path) -> "Identity | None":
        """Return the identity below `state`, or None when it has none.

        Raises BadIdentity for one that is damaged, or whose key others may read.
        """
        folder = state / FOLDER
        enrolment = read_enrolment(folder)
        if enrolment is None:
            return None
        identity = cls(folder, enrolment)
        for needed in (identity.certificate_path, identity.ca_path, identity.root_path):
            if not needed.is_file():
                raise BadIdentity(f"{needed} is missing. Enrol anew: move {folder} away and run agent enrol")
        check_key(identity.key_path)
        return identity

    @property
    def device(self) -> str:
        """The device's id."""
        return self.enrolment.device

    @property
    def fleet(self) -> str:
        """The fleet's name."""
        return self.enrolment.fleet

    @property
    def pair(self) -> Pair:
        """The pair in use."""
        return Pair(self._one(KEY), self._one(CERTIFICATE))

    @property
    def key_path(self) -> Path:
        """The private key, PKCS#8."""
        return self._one(KEY)

    @property
    def certificate_path(self) -> Path:
        """The certificate, leaf first."""
        return self._one(CERTIFICATE)

    @property
    def ca_path(self) -> Path:
        """The fleet's authority: for the broker, and for the enrolment server if that is ours."""
        return self.folder / CA

    @property
    def https_ca_path(self) -> Path:
        """The authority of the enrolment server's own certificate."""
        other = self.folder / HTTPS_CA
        return other if other.is_file() else self.ca_path

    @property
    def root_path(self) -> Path:
        """The pinned root of trust."""
        return self.folder / ROOT

    @property
    def certificate_pem(self) -> str:
        """The certificate that speaks for the key that signs."""
        return self.certificate_path.read_text()

    @property
    def certificate(self) -> str:
        """The same, as `seams.Signer` names it."""
        return self.certificate_pem

    def next_pair(self) -> Pair | None:
        """Return the renewed pair that has not connected yet, when it is whole."""
        pair = Pair.within(self.folder / NEXT)
        return pair if pair.key.is_file() and pair.certificate.is_file() else None

    def sign_envelope(self, payload_type: str, payload: bytes) -> bytes:
        """Return a DSSE envelope around `payload`, signed by the device's key: ECDSA on P-256 with SHA-256."""
        # Imported here: it costs 9 MB, and an agent without identity never needs it.
        from .identity_crypto import Signing

        where = self.key_path
        if self._key is None or self._key.path != where or self._key.changed():
            self._key = Signing(where)
        return dsse.seal(payload_type, payload, self._key.keyid, self._key.sign)

    def _one(self, name: str) -> Path:
        taken = self.folder / TAKING / name
        return taken if taken.is_file() else self.folder / name


def read_enrolment(folder: Path) -> Enrolment | None:
    """Return what the device of the identity in `folder` was told, or None when there is none; raise BadIdentity.

    Raises PermissionError for who may not look: nothing is wrong with the identity then.
    """
    path = folder / ENROLMENT
    try:
        return msgspec.json.decode(path.read_bytes(), type=Enrolment) if folder.is_dir() else None
    except PermissionError:
        raise
    except (OSError, msgspec.MsgspecError) as error:
        raise BadIdentity(
            f"{path} cannot be read: {error}. Enrol anew: move {folder} away and run agent enrol"
        ) from error


def check_key(path: Path) -> None:
    """Raise BadIdentity unless `path` is a regular file that its owner alone may read, and the owner is who asks."""
    try:
        found = path.lstat()
    except OSError as error:
        raise BadIdentity(f"the device's key {path} cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise BadIdentity(f"the device's key {path} is no regular file")
    if found.st_mode & 0o077:
        raise BadIdentity(
            f"the device's key {path} has mode {stat.S_IMODE(found.st_mode):04o}, so others may read it. If nobody did: "
            f"chmod 600 {path}; else revoke the device and enrol anew"
        )
    if found.st_uid != os.geteuid() and os.geteuid() != 0:
        raise BadIdentity(
            f"the device's key {path} belongs to user {found.st_uid}, and the agent runs as {os.geteuid()}: run "
            f"chown -R {os.geteuid()} {path.parent}"
        )
