"""The device's own cryptography, in one file: making a key, asking for a certificate, checking one, signing."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs7,
)
from cryptography.x509.oid import NameOID

from .errors import BadIdentity


def new_key() -> bytes:
    """Return a new P-256 key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def request(key_pem: bytes, device: str, board: str | None) -> bytes:
    """Return a signing request, DER, for `device`, with the board's serial as serialNumber."""
    names = [x509.NameAttribute(NameOID.COMMON_NAME, device)]
    if board:
        names.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, board))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    return builder.sign(_key(key_pem), hashes.SHA256()).public_bytes(Encoding.DER)


def certificates(pkcs7_der: bytes) -> list[bytes]:
    """Return the certificates, PEM, of a certs-only answer; raise BadIdentity."""
    try:
        found = pkcs7.load_der_pkcs7_certificates(pkcs7_der)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadIdentity(f"the server's answer holds no certificates: {error}") from error
    return [one.public_bytes(Encoding.PEM) for one in found]


def pinned(found: Sequence[bytes], fingerprint: bytes) -> bytes:
    """Return the authority, PEM, among `found` whose key has this SHA-256; raise BadIdentity when none has."""
    seen = []
    for pem in found:
        mark = hashlib.sha256(_public(x509.load_pem_x509_certificate(pem))).digest()
        if mark == fingerprint:
            return pem
        seen.append(mark.hex()[:16])
    raise BadIdentity(
        f"the server shows an authority with the fingerprint {', '.join(seen) or 'of nobody'}, and the token says "
        f"{fingerprint.hex()[:16]}: this is another server, or somebody stands between. The token was not sent"
    )


def key_mark(key_pem: bytes) -> str:
    """Return the SHA-256 of the public key: what `device waiting` shows on the server."""
    return hashlib.sha256(_spki(_key(key_pem))).hexdigest()


def check_certificate(pem: bytes, key_pem: bytes, device: str, authorities: Sequence[bytes]) -> None:
    """Raise BadIdentity unless the certificate is for this key and device, and one of `authorities` made it."""
    try:
        leaf = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadIdentity(f"the certificate cannot be read: {error}") from error
    if _public(leaf) != _spki(_key(key_pem)):
        raise BadIdentity("the server's certificate is for another key than this device's")
    names = [one.value for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [device]:
        raise BadIdentity(f"the server's certificate is for {names}, and this is {device}")
    for one in authorities:
        try:
            leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(one))
            return
        except (InvalidSignature, ValueError, TypeError):
            continue
    raise BadIdentity("the server's certificate was not made by the authority that it shows")


def life(pem: bytes) -> tuple[datetime, datetime]:
    """Return when a certificate begins and ends; raise BadIdentity."""
    try:
        leaf = x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise BadIdentity(f"the certificate cannot be read: {error}") from error
    return leaf.not_valid_before_utc, leaf.not_valid_after_utc


class Signing:
    """The key, loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        key = _key(path.read_bytes())
        self._private = key
        self.keyid = hashlib.sha256(_spki(key)).hexdigest()

    def changed(self) -> bool:
        """Whether another key lies there now."""
        return _stamp(self.path) != self._stamp

    def sign(self, message: bytes) -> bytes:
        """Return the signature, DER."""
        return self._private.sign(message, ec.ECDSA(hashes.SHA256()))


def _stamp(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadIdentity(f"the device's key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise BadIdentity("the device's key is not P-256")
    return key


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _public(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
