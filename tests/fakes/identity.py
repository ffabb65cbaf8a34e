"""A device authority, and devices' keys with certificates of it: what an enrolment gives, made in memory."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgefleet_protocol.dsse import seal

BEGIN = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""A device without a clock must find its certificates valid."""
END = datetime(2100, 1, 1, tzinfo=timezone.utc)


@dataclass
class FakeSigner:
    """Implements `seams.Signer`."""

    key: ec.EllipticCurvePrivateKey
    certificate: str

    def sign_envelope(self, payload_type: str, payload: bytes) -> bytes:
        return seal(payload_type, payload, "device", lambda message: self.key.sign(message, ec.ECDSA(hashes.SHA256())))


@dataclass
class FakeAuthority:
    """`FakeAuthority().issue("pi-1")` is a device's signer; `write` makes the folder that `[identity]` names."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    revoked: list[int] = field(default_factory=list)
    name: str = "devices"

    def __post_init__(self) -> None:
        self.certificate = self._certify(self.name, self.key.public_key(), END, is_ca=True)

    def issue(self, device: str, not_after: datetime = END, usage: x509.ObjectIdentifier | None = None) -> FakeSigner:
        """Return a signer with a certificate for `device`."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._certify(device, key.public_key(), not_after, usage=usage or ExtendedKeyUsageOID.CLIENT_AUTH)
        return FakeSigner(key, made.public_bytes(serialization.Encoding.PEM).decode())

    def revoke(self, signer: FakeSigner) -> None:
        """Note a certificate for the next `write`."""
        self.revoked.append(x509.load_pem_x509_certificate(signer.certificate.encode()).serial_number)

    def write(self, folder: Path) -> None:
        """Write `ca.pem` and `crl.pem`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.pem").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(BEGIN)
            .next_update(END)
        )
        for serial in self.revoked:
            row = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(BEGIN).build()
            builder = builder.add_revoked_certificate(row)
        made = builder.sign(self.key, hashes.SHA256())
        (folder / "crl.pem.new").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / "crl.pem.new").replace(folder / "crl.pem")

    def _certify(
        self,
        name: str,
        public: ec.EllipticCurvePublicKey,
        not_after: datetime,
        *,
        is_ca: bool = False,
        usage: x509.ObjectIdentifier | None = None,
    ) -> x509.Certificate:
        issuer = self.name if is_ca else self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(issuer))]))
            .public_key(public)
            .serial_number(secrets.randbits(64) | 1)
            .not_valid_before(BEGIN + timedelta(0))
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None), critical=True)
        )
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self.key, hashes.SHA256())
