"""The enrolment door: tokens reused, late and of another region; requests with foreign names or a broken signature."""

import base64
import http.client
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import update

from edgefleet_server.store import audit, enrol_tokens, enrolments, identities
from edgefleet_server.store.beside import beside
from edgefleet_server.store.schema import enrol_tokens as table
from tests.fakes.enrolled_fleet import EnrolledFleet
from tests.fakes.fleet import SOUTH, WEST, Member

from .report import must

EXPECTED = "each is refused with words and written down; nobody gets a certificate"


def run(folder: Path) -> str:
    """Return what was seen."""
    with EnrolledFleet([Member("one")]) as fleet:
        seen = [f"{what}: {attack(fleet)}" for what, attack in ATTACKS.items()]
        with beside(fleet.folder / "server") as connection:
            devices = sorted({row.device for row in identities.every(connection)})
            deeds = [row.outcome for row in audit.latest(connection, 200)]
        must(devices == ["one"], f"certificates were given to {devices}")
        refused = sum(outcome.startswith("refused") for outcome in deeds)
        must(refused >= len(ATTACKS), f"{len(ATTACKS)} attacks, and {refused} refusals written down")
        must(bool(fleet.get("/healthz")["broker_connected"]), "the server is not well")
    return "; ".join(seen)


def reused(fleet: EnrolledFleet) -> str:
    token = fleet.token(WEST)
    with beside(fleet.folder / "server") as connection:  # as if another device had come with it
        row = enrol_tokens.every(connection)[0]
        enrolments.put(
            connection,
            enrolments.Enrolment(row.id, "0" * 64, "other", None, WEST, "issued", row.created_s, row.created_s),
        )
    return knock(fleet, token, csr("thief"), 403, "used up")


def late(fleet: EnrolledFleet) -> str:
    token = fleet.token(WEST)
    with beside(fleet.folder / "server") as connection:
        row = enrol_tokens.every(connection)[0]
        connection.execute(update(table).where(table.c.id == row.id).values(expires_s=row.created_s - 1))
    return knock(fleet, token, csr("thief"), 403, "ended at")


def other_region(fleet: EnrolledFleet) -> str:
    return knock(fleet, fleet.token(WEST), csr("thief"), 403, f"and the device asks for {SOUTH}", label=SOUTH)


def guessed(fleet: EnrolledFleet) -> str:
    return knock(fleet, f"ef1.x.{base64.urlsafe_b64encode(bytes(16)).decode()}", csr("thief"), 401, "not one of")


def revoked(fleet: EnrolledFleet) -> str:
    token = fleet.token(WEST)
    with beside(fleet.folder / "server") as connection:
        name = enrol_tokens.every(connection)[0].id
    fleet.command("server", "enrol-token", "revoke", name)
    return knock(fleet, token, csr("thief"), 403, "was revoked")


def wildcard(fleet: EnrolledFleet) -> str:
    words = [knock(fleet, fleet.token(WEST), csr(name), 403, "cannot name a device") for name in ("+", "#", "a/b")]
    return words[0]


def as_hub(fleet: EnrolledFleet) -> str:
    return knock(fleet, fleet.token(WEST), csr("hub"), 403, "the server's own")


def as_another(fleet: EnrolledFleet) -> str:
    return knock(fleet, fleet.token(WEST), csr("one"), 403, "has an identity already")


def foreign_names(fleet: EnrolledFleet) -> str:
    names = x509.SubjectAlternativeName([x509.DNSName("thief"), x509.DNSName("one")])
    return knock(fleet, fleet.token(WEST), csr("thief", names), 403, "foreign name")


def as_authority(fleet: EnrolledFleet) -> str:
    return knock(
        fleet, fleet.token(WEST), csr("thief", x509.BasicConstraints(True, None)), 403, "asks to be an authority"
    )


def broken(fleet: EnrolledFleet) -> str:
    der = bytearray(csr("thief"))
    der[-8] ^= 1
    return knock(fleet, fleet.token(WEST), bytes(der), 403, "not by its own key")


ATTACKS: dict[str, Callable[[EnrolledFleet], str]] = {
    "reused": reused,
    "late": late,
    "other region": other_region,
    "guessed": guessed,
    "revoked": revoked,
    "CN with + # /": wildcard,
    "CN hub": as_hub,
    "another's CN": as_another,
    "foreign names": foreign_names,
    "CA wished": as_authority,
    "broken signature": broken,
}


def csr(name: str, extension: x509.ExtensionType | None = None) -> bytes:
    """Return a request for `name` by a new key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


def knock(fleet: EnrolledFleet, token: str, der: bytes, status: int, words: str, label: str | None = None) -> str:
    """Come with a token and a request; return the answer's status. It must be `status` and say `words`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(fleet.identity / "ca.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", fleet.enrol_port, timeout=30, context=context)
    login = base64.b64encode(f"x:{token.split('.')[2]}".encode()).decode()
    path = f"/.well-known/est/{label}/simpleenroll" if label else "/.well-known/est/simpleenroll"
    headers = {"Content-Type": "application/pkcs10", "Authorization": f"Basic {login}"}
    connection.request("POST", path, base64.b64encode(der), headers)
    answer = connection.getresponse()
    said = answer.read().decode()
    connection.close()
    must(answer.status == status and words in said, f"{answer.status}: {said.strip()} instead of {status}: {words}")
    return str(answer.status)
