"""Identity with real processes: authority and door in a real server, a Mosquitto with TLS, real agents."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509

from edgefleet_agent import identity_crypto
from edgefleet_server.identity.authority import Authority
from edgefleet_server.identity.csr import read_csr
from edgefleet_server.store import identities
from edgefleet_server.store.beside import beside
from edgefleet_server.store.identities import IdentityRow
from edgefleet_trust.passphrase import Passphrase
from tests.fakes.enrolled_fleet import SECRET, EnrolledFleet, identity_file
from tests.fakes.fleet import WEST, Member
from tests.fakes.parts import run


@pytest.fixture(scope="module")
def fleet() -> Iterator[EnrolledFleet]:
    with EnrolledFleet([Member("one")]) as fleet:
        yield fleet


def test_a_device_enrols_connects_by_its_certificate_and_serves_what_is_rolled_out(fleet: EnrolledFleet) -> None:
    assert identity_file(fleet, "one")["region"] == WEST
    release = fleet.release()
    fleet.roll_out(release, [WEST])
    with fleet.load("one") as load:
        assert load.ask() == release
    assert fleet.enrol("one", "x").returncode == 5, "an enrolled device is not enrolled again"
    status = fleet.status("one")
    assert (status["device"], status["region"]) == ("one", WEST)


def test_a_renewal_goes_on_beside_what_serves_and_is_taken_over_once_it_has_connected(fleet: EnrolledFleet) -> None:
    state = fleet.agent_toml("one").parent / "state"
    fleet.parts.stop("one")
    aged(fleet, state / "identity", timedelta(days=70))
    old = (state / "identity/certificate.pem").read_bytes()
    fleet.start_agent("one")
    fleet.until("it is renewed", lambda: "the old one is gone" in fleet.device_log("one"))
    new = (state / "identity/certificate.pem").read_bytes()
    assert new != old and not (state / "identity/next").exists() and not (state / "identity/taking").exists()
    assert x509.load_pem_x509_certificate(new).not_valid_after_utc > datetime.now(timezone.utc) + timedelta(days=89)
    fleet.until("it is online", lambda: fleet.device("one")["online"])


def test_a_sealed_card_enrols_by_itself_once_somebody_approves(fleet: EnrolledFleet, tmp_path: Path) -> None:
    state = fleet.agent_toml("one").parent / "state"
    running = run(["edgefleet", "agent", "seal", "--config", str(fleet.agent_toml("one"))])
    assert running.returncode == 5 and "another agent holds" in running.stderr
    fleet.parts.stop("one")
    token = tmp_path / "token"
    token.write_text(fleet.token(WEST, "--batch", "--cap", "2", "--approve", "--expires", "30d"))
    token.chmod(0o600)
    sealed = run(["edgefleet", "agent", "seal", "--config", str(fleet.agent_toml("one")), "--token-file", str(token)])
    assert sealed.returncode == 0, sealed.stderr
    assert not (state / "identity").exists() and not (state / "facts.json").exists()
    fleet.start_sealed("one")
    fleet.until("it waits", lambda: "waits until somebody approves" in fleet.device_log("one"))
    waiting = fleet.command("device", "waiting").stdout
    name = next(line.split()[0] for line in waiting.splitlines() if WEST in line)
    fleet.parts.stop("one")
    fleet.command("device", "approve", name)
    fleet.start_sealed("one")
    fleet.until("it is at home", lambda: (fleet.device(name)["document"] or {}).get("region") == WEST)


def test_status_says_how_long_the_authoritys_documents_hold(fleet: EnrolledFleet) -> None:
    said = fleet.command("server", "identity", "status").stdout
    assert "revocation list" in said and "soon" not in said
    listed = fleet.command("server", "enrol-token", "list", "--csv").stdout
    assert listed.startswith("token,region,device,serial,status,key,first\n") and ",one,," in listed


def aged(fleet: EnrolledFleet, identity: Path, by: timedelta) -> None:
    """Give a device a certificate that was made `by` ago."""
    then = datetime.now(timezone.utc) - by
    key = (identity / "key.pem").read_bytes()
    authority = Authority.load(fleet.identity, Passphrase(SECRET.encode()))
    issued = authority.issue(read_csr(identity_crypto.request(key, "one", None)), "one", WEST, then)
    (identity / "certificate.pem").write_text(issued.pem)
    row = IdentityRow(
        serial=issued.serial,
        device="one",
        public_key=issued.key_sha256,
        region=WEST,
        issued_s=time.time(),
        not_after_s=issued.not_after.timestamp(),
        certificate=issued.pem,
    )
    with beside(fleet.folder / "server") as connection:
        identities.add(connection, row)
