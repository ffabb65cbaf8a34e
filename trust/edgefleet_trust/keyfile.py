"""Key files: a private key under a passphrase, or the URI of a key that never leaves its device.

Ed25519 for the server's keys. P-256 for a holder's: hardware tokens have it, and OpenSSF model signatures take no other.
Our own small wrapper, scrypt and AES-256-GCM: PKCS#8 as `cryptography` writes it uses PBKDF2 with 2048 rounds, which
unlocks in a millisecond and so falls to guessing. Everything outside the ciphertext is authenticated with it.
"""

import base64
import os
import secrets
import stat
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import UNSET, UnsetType
from securesystemslib.signer import CryptoSigner, Key, Signer, SSlibKey

from .errors import KeyProblem, NotThere, WrongPassphrase
from .files import PRIVATE, Disk, open_regular
from .passphrase import OFFLINE, AskedPassphrase, Passphrase
from .uris import open_uri, register_files

SCRYPT_N = 2**15
"""32 MiB and about 0.1 s for each guess."""
MIN_N, MAX_N = 2**15, 2**20
ED25519, P256 = "ed25519", "p256"
_LIMIT = 4096


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    keyid: str
    public: str
    scrypt_n: int
    salt: str
    nonce: str
    format: int = 1
    cipher: str = "scrypt r=8 p=1, AES-256-GCM"
    kind: str | UnsetType = UNSET
    """`p256`; absent in a file that holds an Ed25519 key, as all did once."""


class _KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    header: _Header
    ciphertext: str


class KeyReference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """In the place of a key file: a key in a token, a KMS or a vault."""

    name: str
    keyid: str
    key: dict[str, object]
    """The public half, as TUF writes it."""
    uri: str
    format: int = 1

    def public(self) -> Key:
        """Return the public half."""
        return Key.from_dict(self.keyid, dict(self.key))


class KeyWriter:
    """Writes the keys of one ceremony into a folder, under one passphrase and salt."""

    def __init__(self, folder: Path, secret: Passphrase, *, disk: Disk, n: int = SCRYPT_N) -> None:
        self._folder, self._secret, self._disk, self._n = folder, secret, disk, n
        self._salt = secrets.token_bytes(16)

    def new(self, name: str, kind: str = ED25519) -> CryptoSigner:
        """Make a key, write it to `<name>.json`, and return its signer. An existing file is refused."""
        path = self._free(name)
        if kind == P256:
            curve = ec.generate_private_key(ec.SECP256R1())
            raw = curve.private_numbers().private_value.to_bytes(32, "big")
            signer = CryptoSigner(curve)
        else:
            edwards = Ed25519PrivateKey.generate()
            raw = edwards.private_bytes_raw()
            signer = CryptoSigner(edwards)
        nonce = secrets.token_bytes(12)
        header = _Header(
            name=name,
            keyid=signer.public_key.keyid,
            public=signer.public_key.keyval["public"],
            scrypt_n=self._n,
            salt=_text(self._salt),
            nonce=_text(nonce),
            kind=P256 if kind == P256 else UNSET,
        )
        box = AESGCM(self._secret.derive(self._salt, self._n))
        sealed = box.encrypt(nonce, raw, msgspec.json.encode(header))
        document = msgspec.json.encode(_KeyFile(header=header, ciphertext=_text(sealed)))
        self._disk.put(path, msgspec.json.format(document) + b"\n", PRIVATE)
        return signer

    def refer(self, name: str, uri: str, public: Key) -> None:
        """Write `<name>.json` for a key that stays where `uri` says."""
        reference = KeyReference(name=name, keyid=public.keyid, key=public.to_dict(), uri=uri)
        self._disk.put(self._free(name), msgspec.json.format(msgspec.json.encode(reference)) + b"\n", PRIVATE)

    def _free(self, name: str) -> Path:
        path = self._folder / f"{name}.json"
        if path.exists():
            raise KeyProblem(f"{path} exists: a key is never overwritten")
        return path


def read_key(path: Path, secret: Passphrase) -> Signer:
    """Return the signer of the key in `path`. A key behind a URI is opened there; its passphrase is its own affair.

    Raises NotThere, WrongPassphrase, or KeyProblem for a file that others may read or that is no key file.
    """
    file = _parse(path, read_private(path))
    if isinstance(file, KeyReference):
        return open_uri(file.uri, file.public())
    header = file.header
    if not MIN_N <= header.scrypt_n <= MAX_N or header.scrypt_n & (header.scrypt_n - 1):
        raise KeyProblem(f"{path}: scrypt n is {header.scrypt_n}, and only powers of 2 in {MIN_N}..{MAX_N} are used")
    try:
        salt, nonce, sealed = (
            base64.b64decode(part, validate=True) for part in (header.salt, header.nonce, file.ciphertext)
        )
        raw = AESGCM(secret.derive(salt, header.scrypt_n)).decrypt(nonce, sealed, msgspec.json.encode(header))
        signer = CryptoSigner(_private(header, raw))
    except InvalidTag as error:
        raise WrongPassphrase(
            f"the passphrase does not open {path} (key {header.name}), or the file was changed"
        ) from error
    except ValueError as error:
        raise KeyProblem(f"{path} is not a key file of this version: {error}") from error
    if signer.public_key.keyid != header.keyid:
        raise KeyProblem(f"{path} says key {header.keyid[:8]} and holds {signer.public_key.keyid[:8]}")
    return signer


def said_keyid(path: Path) -> str:
    """Return the id that the key file in `path` says it has: for messages, since only `read_key` proves it."""
    return said_key(path).keyid


def said_key(path: Path) -> Key:
    """Return the public half that the key file in `path` says it has, without opening it."""
    file = _parse(path, read_private(path))
    if isinstance(file, KeyReference):
        return file.public()
    header = file.header
    scheme = "ed25519" if header.kind is UNSET else "ecdsa-sha2-nistp256"
    return SSlibKey(header.keyid, "ed25519" if header.kind is UNSET else "ecdsa", scheme, {"public": header.public})


def _private(header: _Header, raw: bytes) -> Ed25519PrivateKey | ec.EllipticCurvePrivateKey:
    if header.kind is UNSET:
        return Ed25519PrivateKey.from_private_bytes(raw)
    if header.kind != P256 or len(raw) != 32:
        raise ValueError(f"a key of the kind {header.kind!r}")
    return ec.derive_private_key(int.from_bytes(raw, "big"), ec.SECP256R1())


def read_private(path: Path) -> bytes:
    """Return the bytes of the key file at `path`, at most one more than a key file has.

    Raises NotThere, or KeyProblem for a link, a pipe, what cannot be opened, and what others may read.
    """
    try:
        opened = open_regular(path, os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise NotThere(f"there is no key {path}") from error
    except OSError as error:
        raise KeyProblem(f"{path} cannot be opened as a key: {error.strerror}") from error
    with opened as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise KeyProblem(f"{path} has mode {mode:04o}, so others may read it: chmod 600 {path}")
        return file.read(_LIMIT + 1)


def _parse(path: Path, data: bytes) -> "_KeyFile | KeyReference":
    try:
        if len(data) > _LIMIT:
            raise ValueError(f"more than {_LIMIT} bytes")
        if isinstance(plain := msgspec.json.decode(data), dict) and "uri" in plain:
            return msgspec.json.decode(data, type=KeyReference)
        return msgspec.json.decode(data, type=_KeyFile)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise KeyProblem(f"{path} is not a key file of this version: {error}") from error


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


register_files(lambda path: read_key(Path(path), AskedPassphrase(OFFLINE)))
