"""The fleet's certificate authority: one P-256 key that says which key is which device.

A folder holds it: `ca.pem`, `ca.key.json` (under a passphrase), `crl.pem`; beside them the server's own two pairs,
`server.*` for HTTPS and the broker, `hub.*` for its connection to the broker. Every notBefore is 1970-01-01: a device
without a clock starts there, and would take anything younger for not yet valid.
"""

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edgefleet_trust.files import PRIVATE, PUBLIC, Disk, locked, make_folder
from edgefleet_trust.passphrase import Passphrase

from ..broker.helpers import helpers_in
from ..errors import NotFound, Refused
from .csr import HUB, PROBE, Asked, PublicKey, check_device_id
from .keybox import open_key, seal_key

BEGINNING = datetime(1970, 1, 1, tzinfo=timezone.utc)
CA_LIFE = timedelta(days=20 * 365)
DEVICE_LIFE = timedelta(days=90)
SERVER_LIFE = timedelta(days=397)
CRL_LIFE = timedelta(days=365)
"""A broker with a list past its end lets nobody in, so it lives long and is signed anew every day."""
LATE_RENEWAL = timedelta(days=365)
"""How long after its end a certificate still fetches its successor: a device that slept needs nobody to come by."""
WARN_BEFORE = timedelta(days=30)


@dataclass(frozen=True)
class Issued:
    """A device's new certificate."""

    device: str
    region: str
    serial: str
    """Hexadecimal digits: what is revoked."""
    key_sha256: str
    not_after: datetime
    pem: str


@dataclass(frozen=True)
class Standing:
    """How long one of the folder's documents holds."""

    name: str
    not_after: datetime

    def left(self, now: datetime) -> timedelta:
        """The time until its end; negative afterwards."""
        return self.not_after - now


class Authority:
    """The unlocked authority. Its folder may be used by the server and a command at once: each change holds a lock."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.folder, self.certificate, self._key = folder, certificate, key

    @classmethod
    def load(cls, folder: Path, passphrase: Passphrase) -> "Authority":
        """Return the authority in `folder`; raise NotFound, or a TrustError for a key that does not open."""
        certificate = read_ca(folder)
        key = open_key(folder / "ca.key.json", passphrase)
        if key.public_key() != certificate.public_key():
            raise Refused(
                f"{folder}/ca.key.json is not the key of {folder}/ca.pem: put the two together that were made together"
            )
        return cls(folder, certificate, key)

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(self, csr: Asked, device: str, region: str, now: datetime) -> Issued:
        """Return a certificate for the key in `csr`, as `device`, for 90 days. `csr`: proved by `read_csr`."""
        name = check_device_id(device)
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = self._sign(csr.key, name, now + DEVICE_LIFE, usage, ())
        pem = certificate.public_bytes(Encoding.PEM).decode()
        return Issued(
            name, region, f"{certificate.serial_number:x}", csr.key_sha256, certificate.not_valid_after_utc, pem
        )

    def revoke(self, serial: str, now: datetime) -> None:
        """Put the certificate with `serial` on the list and write it; once it is there, nothing changes."""
        self.revoke_all([serial], now)

    def revoke_all(self, serials: Sequence[str], now: datetime) -> None:
        """The same for several, with one new list."""
        with locked(self.folder):
            rows = self._revoked(now)
            new = {int(serial, 16) for serial in serials} - {row.serial_number for row in rows}
            rows += [
                x509.RevokedCertificateBuilder().serial_number(number).revocation_date(now).build()
                for number in sorted(new)
            ]
            if new:
                self._write_crl(rows, now)

    def refresh_crl(self, now: datetime) -> None:
        """Sign the list anew for another year, without what could not be used any more anyway."""
        with locked(self.folder):
            self._write_crl(self._revoked(now), now)

    def renew_own(self, hosts: Sequence[str], now: datetime) -> None:
        """Write new keys and certificates for `server` (with the names `hosts`), `hub`, `hub-probe`, and the ingest processes."""
        with locked(self.folder):
            both = [ExtendedKeyUsageOID.SERVER_AUTH]
            self._pair("server", hosts[0], both, hosts, now)
            for name in (HUB, PROBE, *helpers_in(self.folder)):
                self._pair(name, name, [ExtendedKeyUsageOID.CLIENT_AUTH], (), now)

    def make_helper(self, number: int, now: datetime) -> Path:
        """Write a key and a certificate for a further ingest process, `hub-<number>`; return the certificate's path."""
        with locked(self.folder):
            self._pair(f"{HUB}-{number}", f"{HUB}-{number}", [ExtendedKeyUsageOID.CLIENT_AUTH], (), now)
        return self.folder / f"{HUB}-{number}.pem"

    def _pair(
        self, file: str, name: str, usage: Sequence[x509.ObjectIdentifier], hosts: Sequence[str], now: datetime
    ) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(key.public_key(), name, now + SERVER_LIFE, usage, hosts)
        disk = Disk()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        # A cut between the two leaves a pair that does not fit; the server says so at its start, and renewing mends it.
        disk.put(self.folder / f"{file}.key", private, PRIVATE)
        disk.put(self.folder / f"{file}.pem", certificate.public_bytes(Encoding.PEM) + self.ca_pem, PUBLIC)

    def _sign(
        self,
        key: PublicKey,
        name: str,
        not_after: datetime,
        usage: Sequence[x509.ObjectIdentifier],
        hosts: Sequence[str],
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common_name(name))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGINNING)
            .not_valid_after(min(not_after, self.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(list(usage)), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_issuer_key(self.certificate), critical=False)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_host(one) for one in hosts]), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _revoked(self, now: datetime) -> list[x509.RevokedCertificate]:
        useless = now - DEVICE_LIFE - LATE_RENEWAL
        return [row for row in read_crl(self.folder) if row.revocation_date_utc > useless]

    def _write_crl(self, rows: Sequence[x509.RevokedCertificate], now: datetime) -> None:
        number = 1
        if (self.folder / "crl.pem").exists():
            before = read_crl(self.folder)
            number = before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number + 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(BEGINNING)  # as with notBefore: whoever has no clock must not refuse it
            .next_update(now + CRL_LIFE)
            .add_extension(x509.CRLNumber(number), critical=False)
            .add_extension(_issuer_key(self.certificate), critical=False)
        )
        for row in rows:
            builder = builder.add_revoked_certificate(row)
        data = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
        Disk().put(self.folder / "crl.pem", data, PUBLIC)


def establish(folder: Path, fleet: str, hosts: Sequence[str], secret: Passphrase, now: datetime) -> Authority:
    """Make a new authority with all its files in `folder`, which must not hold anything; return it."""
    make_folder(folder, 0o750)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name(f"edgefleet {fleet} authority")
    public = key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINNING)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    seal_key(folder / "ca.key.json", "authority", key, secret)
    authority = Authority(folder, certificate, key)
    with locked(folder):
        authority._write_crl([], now)
    authority.renew_own(hosts, now)
    Disk().put(folder / "ca.pem", authority.ca_pem, PUBLIC)  # last: a folder with it is whole
    return authority


def read_ca(folder: Path) -> x509.Certificate:
    """Return the authority's certificate; raise NotFound when there is none."""
    return _certificate(folder / "ca.pem")


def read_crl(folder: Path) -> x509.CertificateRevocationList:
    """Return the list of what is revoked; raise NotFound when there is none."""
    path = folder / "crl.pem"
    try:
        return x509.load_pem_x509_crl(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}: edgefleet server identity init makes it") from error
    except ValueError as error:
        raise Refused(
            f"{path} is no revocation list: {error}. Write it anew: edgefleet server identity renew"
        ) from error


def fingerprint(certificate: x509.Certificate) -> bytes:
    """Return the SHA-256 of the certificate's SubjectPublicKeyInfo: it stays when the certificate is renewed."""
    der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def standings(folder: Path) -> tuple[Standing, ...]:
    """Return how long each document of the folder holds."""
    rows = [
        Standing(name, _certificate(folder / file).not_valid_after_utc)
        for name, file in (
            ("authority", "ca.pem"),
            ("server", "server.pem"),
            (HUB, "hub.pem"),
            *((name, f"{name}.pem") for name in helpers_in(folder)),
        )
    ]
    end = read_crl(folder).next_update_utc
    return (*rows, Standing("revocation list", end or BEGINNING))


def own_hosts(folder: Path) -> tuple[str, ...]:
    """Return the names that the server's certificate is for, now."""
    found = _certificate(folder / "server.pem").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        *found.get_values_for_type(x509.DNSName),
        *(str(one) for one in found.get_values_for_type(x509.IPAddress)),
    )


def _certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"there is no {path}: edgefleet server identity init makes it") from error
    except ValueError as error:
        raise Refused(f"{path} is no certificate: {error}") from error


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _issuer_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
