"""A private key under a passphrase: scrypt and AES-256-GCM around PKCS#8, as the offline keys are kept.

The header is authenticated with the ciphertext, so that a name or a cost that was changed does not open.
"""

import base64
import secrets
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from edgefleet_trust.errors import KeyProblem, WrongPassphrase
from edgefleet_trust.files import PRIVATE, Disk
from edgefleet_trust.keyfile import MAX_N, MIN_N, SCRYPT_N, read_private
from edgefleet_trust.passphrase import Passphrase


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    scrypt_n: int
    salt: str
    nonce: str
    format: int = 1
    cipher: str = "scrypt r=8 p=1, AES-256-GCM"
    content: str = "PKCS#8, P-256"


class _Box(msgspec.Struct, frozen=True, kw_only=True):
    header: _Header
    ciphertext: str


def seal_key(path: Path, name: str, key: ec.EllipticCurvePrivateKey, secret: Passphrase) -> None:
    """Write `key` to `path`, durable, mode 0600; raise KeyProblem when there is a file already."""
    if path.exists():
        raise KeyProblem(f"{path} exists: a key is never overwritten")
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    header = _Header(name=name, scrypt_n=SCRYPT_N, salt=_text(salt), nonce=_text(nonce))
    plain = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    sealed = AESGCM(secret.derive(salt, SCRYPT_N)).encrypt(nonce, plain, msgspec.json.encode(header))
    document = msgspec.json.encode(_Box(header=header, ciphertext=_text(sealed)))
    Disk().put(path, msgspec.json.format(document) + b"\n", PRIVATE)


def open_key(path: Path, secret: Passphrase) -> ec.EllipticCurvePrivateKey:
    """Return the key in `path`; raise NotThere, WrongPassphrase, or KeyProblem for what is no such file."""
    try:
        box = msgspec.json.decode(read_private(path), type=_Box)
        header = box.header
        if not MIN_N <= header.scrypt_n <= MAX_N or header.scrypt_n & (header.scrypt_n - 1):
            raise KeyProblem(
                f"{path}: scrypt n is {header.scrypt_n}, and only powers of 2 in {MIN_N}..{MAX_N} are used"
            )
        salt, nonce, sealed = (
            base64.b64decode(part, validate=True) for part in (header.salt, header.nonce, box.ciphertext)
        )
        plain = AESGCM(secret.derive(salt, header.scrypt_n)).decrypt(nonce, sealed, msgspec.json.encode(header))
        key = load_der_private_key(plain, None)
    except InvalidTag as error:
        raise WrongPassphrase(
            f"the passphrase does not open {path} (key {header.name}), or the file was changed"
        ) from error
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise KeyProblem(f"{path} is not a key file of this version: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeyProblem(f"{path} holds a key of another kind; an authority's is P-256")
    return key


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
