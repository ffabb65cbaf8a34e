"""Whose word a state is: the envelope's signature, the certificate in it, and the fleet's authority over that.

Tried with cryptography 45 to 50. A device's certificate is signed by the authority itself; there is nothing between them.
"""

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgefleet_protocol.dsse import Verify, is_envelope, open_own
from edgefleet_protocol.errors import BadSignature
from edgefleet_protocol.trust import DEVICE_STATE_TYPE

from ..errors import ServerError

LOG = logging.getLogger(__name__)

CA_NAME, CRL_NAME = "ca.pem", "crl.pem"


class CannotJudge(ServerError):
    """The authority's own files cannot be used now: no fault of the message, which must be neither believed nor thrown away."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"no certificate can be judged: {why}. Nothing that devices say is taken until it can. Is identity.folder the right one?"
        )


class _Bearer(msgspec.Struct):
    """The part of a state that must be read before anything is verified."""

    certificate: str = ""


class DeviceAuthority:
    """Believes what the authority in `folder` says; with None, believes everybody: development on loopback."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._stamp: tuple[tuple[int, int], ...] = ()
        self._authorities: tuple[x509.Certificate, ...] = ()
        self._revoked: frozenset[int] = frozenset()

    def opened(self, data: bytes, device: str, now: float, *, live: bool) -> tuple[bytes, str]:
        """Return the state in `data` and the SHA-256 of the key that signed it, empty where nothing must be signed.

        live: what the broker remembers may have been signed by a certificate that has ended since; what is said now may not.
        Raises BadSignature, saying which check failed and what disagrees, and CannotJudge while the authority cannot be read.
        """
        if self._folder is None:
            return (self._open_unasked(data), "") if is_envelope(data) else (data, "")
        self._load()
        signers: list[str] = []

        def key_in(payload: bytes) -> Verify:
            public = self._believed(payload, device, now, live=live)
            spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            signers.append(hashlib.sha256(spki).hexdigest())
            return _verifier(public)

        return open_own(data, DEVICE_STATE_TYPE, key_in), signers[0]

    @staticmethod
    def _open_unasked(data: bytes) -> bytes:
        """A device with an identity at a server without one: its word counts as much as everybody's here."""
        return open_own(data, DEVICE_STATE_TYPE, lambda payload: lambda signature, message: True)

    def _believed(self, payload: bytes, device: str, now: float, *, live: bool) -> ec.EllipticCurvePublicKey:
        """Return the key of the certificate in `payload` when it is `device`'s and holds."""
        certificate = _certificate(payload)
        issuer = next((one for one in self._authorities if _issued(one, certificate)), None)
        if issuer is None:
            raise BadSignature(f"its certificate is not of this fleet's authority ({CA_NAME})")
        if certificate.serial_number in self._revoked:
            raise BadSignature(f"its certificate, serial {certificate.serial_number:x}, is revoked")
        names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if names != [device]:
            raise BadSignature(
                f"its certificate is of {', '.join(names)[:80] or 'nobody'}, and this is {device}'s topic"
            )
        moment, end = datetime.fromtimestamp(now, UTC), certificate.not_valid_after_utc
        if live and moment > end:
            raise BadSignature(f"its certificate ended on {end:%Y-%m-%d}")
        _check_use(certificate)
        public = certificate.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise BadSignature("its certificate holds no key on an elliptic curve")
        return public

    def _load(self) -> None:
        """Read authority and revocations again when one of the files changed.

        Raises CannotJudge, also for a moment between the two being replaced. What was read before does not go on to hold: a
        certificate may be revoked in the list that cannot be read.
        """
        assert self._folder is not None
        paths = (self._folder / CA_NAME, self._folder / CRL_NAME)
        try:
            stamp = tuple((path.stat().st_mtime_ns, path.stat().st_ino) for path in paths)
            if stamp == self._stamp:
                return
            authorities = tuple(x509.load_pem_x509_certificates(paths[0].read_bytes()))
            revocations = x509.load_pem_x509_crl(paths[1].read_bytes())
        except (OSError, ValueError) as error:
            raise CannotJudge(str(error)) from error
        if not any(_signed_list(one, revocations) for one in authorities):
            raise CannotJudge(f"{CRL_NAME} is not signed by {CA_NAME}")
        self._authorities = authorities
        self._revoked = frozenset(row.serial_number for row in revocations)
        self._stamp = stamp
        LOG.info("devices are believed by %s; %d certificates are revoked", paths[0], len(self._revoked))


def _certificate(payload: bytes) -> x509.Certificate:
    try:
        pem = msgspec.json.decode(payload, type=_Bearer).certificate
        if not pem:
            raise BadSignature("it brings no certificate along")
        return x509.load_pem_x509_certificate(pem.encode())
    except (msgspec.MsgspecError, ValueError, UnicodeError, RecursionError) as error:
        raise BadSignature(f"its certificate cannot be read: {str(error)[:200]}") from error


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _signed_list(issuer: x509.Certificate, revocations: x509.CertificateRevocationList) -> bool:
    public = issuer.public_key()
    if revocations.issuer != issuer.subject or not isinstance(public, ec.EllipticCurvePublicKey):
        return False
    return revocations.is_signature_valid(public)


def _check_use(certificate: x509.Certificate) -> None:
    """The server's own certificate is of the same authority, and no device."""
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    except (ValueError, x509.DuplicateExtension) as error:
        raise BadSignature(f"its certificate cannot be read: {error}") from error
    if ExtendedKeyUsageOID.CLIENT_AUTH not in uses:
        raise BadSignature("its certificate is not one for clients")


def _verifier(public: ec.EllipticCurvePublicKey) -> Verify:
    def verify(signature: bytes, message: bytes) -> bool:
        try:
            public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True

    return verify
