"""A certificate signing request, checked: who asks, by which key, and that they hold it.

Of the names in it only the device's id and the board's serial are read, and only to be checked: a certificate is written
from the id alone. Anything else that a request names is refused, so that nobody can believe it was granted.
"""

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from .refusal import TurnedAway, forbidden, unreadable

MAX_CSR_BYTES = 8192
MAX_SERIAL = 64
HUB = "hub"
"""The server's own name at the broker: no device may be called so, or begin so."""
PROBE = "hub-probe"
"""A name with a device's rights, by which the server tries at its start what the like of a device can write."""

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True)
class Asked:
    """What a request asks for, with its proof checked."""

    device: str
    hardware_serial: str | None
    """Of the board, as the request says it: a claim and no proof."""
    key: PublicKey
    key_sha256: str
    """Of the public key's SubjectPublicKeyInfo, in hexadecimal digits."""


def read_csr(der: bytes) -> Asked:
    """Return what the request in `der` asks for; raise TurnedAway, saying which check failed."""
    if len(der) > MAX_CSR_BYTES:
        raise unreadable(f"the request has {len(der)} bytes and may have {MAX_CSR_BYTES}")
    try:
        csr = x509.load_der_x509_csr(der)
        key = csr.public_key()
        signed = csr.is_signature_valid
        attributes = [(one.oid, str(one.value)) for one in csr.subject]
        extensions = list(csr.extensions)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature, x509.DuplicateExtension) as error:
        raise unreadable(f"this is no signing request (PKCS#10, DER): {error}") from error
    except x509.UnsupportedGeneralNameType as error:
        raise forbidden(f"the request asks for a kind of name that no device gets: {error}") from error
    if not isinstance(key, PublicKey) or (
        isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1)
    ):
        raise forbidden("the request's key is neither P-256 nor Ed25519: make one of P-256, as agent enrol does")
    if not signed:
        raise forbidden("the request's signature is not by its own key: whoever sent it does not hold the key")
    device, serial = _names(attributes)
    _check_extensions(extensions, device)
    return Asked(device, serial, key, key_sha256(key))


def check_device_id(name: str) -> str:
    """Return `name` when a certificate may be made for it; raise TurnedAway otherwise."""
    try:
        check_label("device", name)
    except BadName as error:
        raise forbidden(str(error)) from error
    if name.startswith(HUB):
        raise forbidden(f"{name!r} cannot name a device: names that begin with {HUB} are the server's own")
    return name


def key_sha256(key: PublicKey) -> str:
    """Return the SHA-256 of the key's SubjectPublicKeyInfo: what names a key."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _names(attributes: list[tuple[x509.ObjectIdentifier, str]]) -> tuple[str, str | None]:
    names = [value for oid, value in attributes if oid == NameOID.COMMON_NAME]
    serials = [value for oid, value in attributes if oid == NameOID.SERIAL_NUMBER]
    others = [oid for oid, _ in attributes if oid not in (NameOID.COMMON_NAME, NameOID.SERIAL_NUMBER)]
    if others:
        known = ", ".join(oid.dotted_string for oid in others)
        raise forbidden(
            f"the request's subject holds foreign names ({known}): it may hold CN, the device's id, and serialNumber"
        )
    if len(names) != 1 or len(serials) > 1:
        raise forbidden(
            f"the request's subject holds {len(names)} CN and {len(serials)} serialNumber: write one CN, the device's "
            "id, and at most one serialNumber, the board's"
        )
    return check_device_id(names[0]), check_serial(serials[0]) if serials else None


def check_serial(serial: str) -> str:
    """Return it if a board may say that it is its serial; raise TurnedAway."""
    if not (0 < len(serial) <= MAX_SERIAL and serial.isascii() and serial.isprintable()):
        shown = f"{serial!r}" if len(serial) <= MAX_SERIAL else f"of {len(serial)} characters"
        raise forbidden(f"the board's serial is {shown}, and may have 1 to {MAX_SERIAL} printable ASCII characters")
    return serial


def _check_extensions(extensions: list[x509.Extension[x509.ExtensionType]], device: str) -> None:
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            if foreign := [name for name in value if not (isinstance(name, x509.DNSName) and name.value == device)]:
                raise forbidden(f"the request asks for the foreign name {_shown(foreign[0])} beside {device}")
        elif isinstance(value, x509.BasicConstraints) and value.ca:
            raise forbidden("the request asks to be an authority: devices sign no certificates")


def _shown(name: x509.GeneralName) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in repr(name))[:120]


__all__ = [
    "HUB",
    "MAX_CSR_BYTES",
    "Asked",
    "PublicKey",
    "TurnedAway",
    "check_device_id",
    "check_serial",
    "key_sha256",
    "read_csr",
]
