"""The authority: what it makes, what it never makes, and how it is kept."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from edgefleet_agent import identity_crypto
from edgefleet_server.errors import BadConfig, NotFound, Refused
from edgefleet_server.identity.authority import Authority, establish, own_hosts, read_ca, read_crl, standings
from edgefleet_server.identity.csr import read_csr
from edgefleet_server.identity.passphrase import ca_passphrase
from edgefleet_server.identity.refusal import TurnedAway
from edgefleet_server.identity.revoking import revoke_device
from edgefleet_server.store import identities
from edgefleet_trust.errors import BreaksRule, KeyProblem, WrongPassphrase
from edgefleet_trust.passphrase import Passphrase
from tests.fakes.enrolment import SECRET, Enrolments, board, seeded

NOW = datetime(2026, 3, 1, tzinfo=timezone.utc)
HOSTS = ["fleet.example", "192.0.2.7"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return establish(tmp_path_factory.mktemp("a") / "identity", "demo", HOSTS, SECRET, NOW)


def asked(device: str = "porch-1"):
    return read_csr(identity_crypto.request(identity_crypto.new_key(), device, None))


def test_everything_begins_in_1970_and_the_servers_names_are_those_that_were_given(authority: Authority) -> None:
    for name in ("ca", "server", "hub"):
        found = x509.load_pem_x509_certificate((authority.folder / f"{name}.pem").read_bytes())
        assert found.not_valid_before_utc.year == 1970
        found.verify_directly_issued_by(read_ca(authority.folder))
    assert own_hosts(authority.folder) == tuple(HOSTS)
    assert found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "hub"


def test_keys_are_their_owners_alone_and_the_authoritys_is_not_in_the_clear(authority: Authority) -> None:
    for name in ("ca.key.json", "server.key", "hub.key"):
        assert (authority.folder / name).stat().st_mode & 0o777 == 0o600
    box = json.loads((authority.folder / "ca.key.json").read_text())
    assert box["header"]["scrypt_n"] >= 2**15 and "PRIVATE" not in json.dumps(box)
    with pytest.raises(WrongPassphrase, match="does not open"):
        Authority.load(authority.folder, Passphrase(b"wrong"))
    assert Authority.load(authority.folder, SECRET).certificate == authority.certificate


def test_a_changed_header_or_a_readable_key_does_not_open(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.ca_pem)
    box = json.loads((authority.folder / "ca.key.json").read_text())
    box["header"]["name"] = "another"
    key = tmp_path / "ca.key.json"
    key.write_text(json.dumps(box))
    key.chmod(0o600)
    with pytest.raises(WrongPassphrase):
        Authority.load(tmp_path, SECRET)
    key.chmod(0o640)
    with pytest.raises(KeyProblem, match="others may read it"):
        Authority.load(tmp_path, SECRET)


@pytest.mark.parametrize("name", ["+", "#", "a/b", "hub", "hub-2", "A", "", "-a", "a\n"])
def test_no_certificate_is_ever_made_for_such_a_name(authority: Authority, name: str) -> None:
    with pytest.raises(TurnedAway, match=r"cannot name a device"):
        authority.issue(asked(), name, "eu-west", NOW)


def test_serials_are_random_and_the_list_numbers_itself(authority: Authority) -> None:
    issued = [authority.issue(asked(), "porch-1", "eu-west", NOW) for _ in range(3)]
    assert len({one.serial for one in issued}) == 3
    before = read_crl(authority.folder).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    authority.revoke(issued[0].serial, NOW)
    authority.revoke(issued[0].serial, NOW)
    crl = read_crl(authority.folder)
    assert [f"{row.serial_number:x}" for row in crl] == [issued[0].serial]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == before + 1
    assert crl.is_signature_valid(authority.certificate.public_key())  # type: ignore[arg-type]
    authority.refresh_crl(NOW + timedelta(days=200))
    assert len(read_crl(authority.folder)) == 1
    assert {row.name: row.left(NOW).days for row in standings(authority.folder)}["revocation list"] == 565
    authority.refresh_crl(NOW + timedelta(days=456))
    assert len(read_crl(authority.folder)) == 0, "such a certificate cannot even be renewed any more"


def test_an_authority_is_never_made_over_another(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(BreaksRule, match="is not empty"):
        establish(authority.folder, "demo", HOSTS, SECRET, NOW)
    with pytest.raises(NotFound, match="server identity init"):
        Authority.load(tmp_path, SECRET)
    (tmp_path / "ca.pem").write_text("x")
    with pytest.raises(Refused, match="is no certificate"):
        Authority.load(tmp_path, SECRET)


def test_the_passphrase_comes_from_a_file_or_a_systemd_credential(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="EDGEFLEET_CA_PASSPHRASE_FILE"):
        ca_passphrase({})
    file = tmp_path / "ca-passphrase"
    file.write_text("four words\n")
    assert ca_passphrase({"CREDENTIALS_DIRECTORY": str(tmp_path)}) is not None
    with pytest.raises(BadConfig, match="others may read"):
        ca_passphrase({"EDGEFLEET_CA_PASSPHRASE_FILE": str(file)})
    file.chmod(0o600)
    salt = bytes(16)
    given = ca_passphrase({"EDGEFLEET_CA_PASSPHRASE_FILE": str(file)})
    assert given.derive(salt, 2**15) == Passphrase(b"four words").derive(salt, 2**15)


def test_revoking_a_device_ends_all_its_certificates_and_is_written_down(tmp_path: Path) -> None:
    from edgefleet_agent.enrol import enrol

    with Enrolments(tmp_path) as door:
        state = tmp_path / "state"
        enrol(state, seeded(state, door.url, door.token()), board(state / "board"))
        with door.database.write() as connection:
            ended = revoke_device(connection, door.authority, "porch-1", "a person", door.clock.now())
            assert revoke_device(connection, door.authority, "porch-1", "a person", door.clock.now()) == ()
            with pytest.raises(NotFound, match="never had a certificate"):
                revoke_device(connection, door.authority, "porch-9", "a person", door.clock.now())
            assert not [row for row in identities.of_device(connection, "porch-1") if row.live]
        assert [f"{row.serial_number:x}" for row in read_crl(door.authority.folder)] == list(ended)
        assert "device.revoke porch-1 was revoked before" in door.audit()
