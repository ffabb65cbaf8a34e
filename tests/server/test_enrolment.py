"""Enrolment and renewal over real TLS: the device's steps against the server's door."""

import base64
import shutil
import socket
import ssl
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509

from edgefleet_agent import identity_crypto
from edgefleet_agent.enrol import enrol, renew
from edgefleet_agent.enrol_http import Est, NotYet, TurnedAway, Unreachable
from edgefleet_agent.enrol_seal import seal
from edgefleet_agent.errors import AgentError, BadIdentity
from edgefleet_agent.identity import Identity
from edgefleet_agent.identity_files import take_next
from edgefleet_protocol import dsse
from edgefleet_server.identity.authority import read_crl
from edgefleet_server.identity.tokens import Allowed
from edgefleet_server.regions.settings import RegionSettings
from edgefleet_server.store import enrol_tokens, enrolments, identities, regions
from tests.fakes.enrolment import DAY, NOW, ROOT, Enrolments, board, seeded


@pytest.fixture(scope="module")
def established(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority and an empty database, to be copied: making them takes half a second."""
    folder = tmp_path_factory.mktemp("authority")
    with Enrolments(folder):
        pass
    return folder / "server"


@pytest.fixture
def door(tmp_path: Path, established: Path):
    shutil.copytree(established, tmp_path / "server")
    with Enrolments(tmp_path) as door:
        yield door


def at(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, timezone.utc)


def come(door: Enrolments, state: Path, token: str, **seed) -> Identity:
    enrol(state, seeded(state, door.url, token, **seed), board(state / "board"))
    identity = Identity.load(state)
    assert identity is not None
    return identity


def live(door: Enrolments, device: str) -> list[identities.IdentityRow]:
    with door.database.read() as connection:
        return [row for row in identities.of_device(connection, device) if row.live]


def test_a_device_with_a_token_gets_certificate_authority_and_pinned_root(door: Enrolments, tmp_path: Path) -> None:
    identity = come(door, tmp_path / "state", door.token(tags=("porch",)))
    assert (identity.device, identity.fleet, identity.enrolment.region) == ("porch-1", "demo", "eu-west")
    assert identity.root_path.read_bytes() == ROOT
    assert (identity.enrolment.broker.host, identity.enrolment.broker.port) == ("127.0.0.1", 8883)
    assert identity.key_path.stat().st_mode & 0o777 == 0o600
    leaf = x509.load_pem_x509_certificate(identity.certificate_pem.encode())
    assert leaf.subject.rfc4514_string() == "CN=porch-1"
    assert leaf.not_valid_before_utc == datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert leaf.not_valid_after_utc == at(NOW + 90 * DAY)
    assert door.assigned == [("porch-1", "eu-west", ("porch",))] * 2, "at the certificate, and as it came with it"
    assert door.audit()[0].startswith("device.enrol porch-1 certificate ")
    assert not (tmp_path / "state/enrol").exists(), "the token is gone from the device"


@pytest.mark.parametrize(
    ("address", "host"), [("mq.example.org:8884", "mq.example.org"), ("[fd00::1]:8884", "fd00::1")]
)
def test_a_device_is_told_its_regions_own_broker(door: Enrolments, tmp_path: Path, address: str, host: str) -> None:
    with door.database.write() as connection:
        regions.add(connection, "eu-west", RegionSettings(broker=address), "a test", "", NOW)
    identity = come(door, tmp_path / "state", door.token())
    assert (identity.enrolment.broker.host, identity.enrolment.broker.port) == (host, 8884)


def test_what_the_identity_signs_its_certificate_verifies(door: Enrolments, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    identity = come(door, tmp_path / "state", door.token())
    sealed = identity.sign_envelope("text/plain", b"here I am")
    key = x509.load_pem_x509_certificate(identity.certificate_pem.encode()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)

    def verify(signature: bytes, message: bytes) -> bool:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return True

    keyid = identity_crypto.key_mark(identity.key_path.read_bytes())
    assert dsse.open_envelope(sealed, "text/plain", {keyid: verify}) == b"here I am"


def test_a_device_without_a_name_is_called_by_its_board(door: Enrolments, tmp_path: Path) -> None:
    assert come(door, tmp_path / "state", door.token(), device=None).device == "pi4-10000000abcdef12"


def test_the_first_contact_trusts_only_the_authority_that_the_token_names(door: Enrolments, tmp_path: Path) -> None:
    parts = door.token().split(".")
    other = ".".join([parts[0], base64.urlsafe_b64encode(bytes(32)).decode().rstrip("="), parts[2]])
    with pytest.raises(BadIdentity, match=r"the token says 0000000000000000.*The token was not sent"):
        come(door, tmp_path / "state", other)
    assert door.audit() == []


@pytest.mark.parametrize(
    ("fields", "seed", "later_s", "words"),
    [
        ({}, {}, 2 * DAY, "ended at 2026-03-02 12:00 UTC, and it is 2026-03-03 12:00 UTC"),
        ({}, {"region": "ap-south"}, 0.0, "is for region eu-west, and the device asks for ap-south"),
        ({"cap": 0}, {}, 0.0, "is used up: it lets in 0"),
        ({"revoked_s": NOW}, {}, 0.0, "was revoked at 2026-03-01"),
        ({"device": "porch-2"}, {}, 0.0, "is for porch-2, and porch-1 came with it"),
        ({"allowed": (Allowed("77"),)}, {}, 0.0, "the board 10000000abcdef12 is not on the list"),
        ({"allowed": (Allowed("10000000abcdef12", "x"),)}, {}, 0.0, "is to be x, and asks for porch-1"),
        ({}, {"device": "hub-2"}, 0.0, "names that begin with hub are the server's own"),
    ],
)
def test_a_token_that_does_not_fit_is_refused_with_words_and_written_down(
    door: Enrolments, tmp_path: Path, fields, seed, later_s: float, words: str
) -> None:
    token = door.token(**fields)
    door.clock.at_s += later_s
    with pytest.raises(TurnedAway, match=words):
        come(door, tmp_path / "state", token, **seed)
    assert words in door.audit()[0] and "refused" in door.audit()[0]
    assert not live(door, "porch-1")


def test_a_token_lets_in_one_device_only(door: Enrolments, tmp_path: Path) -> None:
    token = door.token()
    come(door, tmp_path / "one", token)
    with pytest.raises(TurnedAway, match="is used up: it lets in 1, and 1 came"):
        come(door, tmp_path / "two", token, device="porch-2")
    assert "device.enrol porch-2 refused: token" in door.audit()[0]


def test_a_name_that_somebody_has_is_not_given_to_another_key(door: Enrolments, tmp_path: Path) -> None:
    come(door, tmp_path / "one", door.token())
    with pytest.raises(TurnedAway, match="porch-1 has an identity already"):
        come(door, tmp_path / "two", door.token())
    first = live(door, "porch-1")[0]
    again = come(door, tmp_path / "three", door.token(device="porch-1"))
    assert [row.public_key for row in live(door, "porch-1")] == [identity_crypto.key_mark(again.key_path.read_bytes())]
    assert [f"{row.serial_number:x}" for row in read_crl(door.authority.folder)] == [first.serial]


def test_a_revoked_device_comes_back_only_by_a_newer_token(door: Enrolments, tmp_path: Path) -> None:
    old = door.token(cap=5)
    come(door, tmp_path / "one", old)
    with door.database.write() as connection:
        identities.revoke(connection, live(door, "porch-1")[0].serial, door.clock.now())
    with pytest.raises(TurnedAway, match="was revoked after token"):
        come(door, tmp_path / "two", old)
    door.clock.at_s += 60
    come(door, tmp_path / "three", door.token())


@pytest.mark.parametrize("lost", ["certificate.pem", "enrolment.json", "root.json", "ca.pem"])
def test_a_cut_before_anything_was_stored_is_made_good_with_the_same_key(
    door: Enrolments, tmp_path: Path, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was lost: the server gives it again to the same key."""
    from edgefleet_agent import enrol as steps

    real, state, token = steps.put, tmp_path / "state", door.token()

    def cut(path: Path, *more) -> None:
        if path.name == lost:
            raise KeyboardInterrupt
        real(path, *more)

    seed = seeded(state, door.url, token)
    monkeypatch.setattr(steps, "put", cut)
    with pytest.raises(KeyboardInterrupt):
        enrol(state, seed, board(state / "board"))
    assert Identity.load(state) is None
    key = (state / "identity.new/key.pem").read_bytes()
    monkeypatch.setattr(steps, "put", real)
    enrol(state, seed, board(state / "board"))
    identity = Identity.load(state)
    assert identity is not None and identity.key_path.read_bytes() == key
    assert len(live(door, "porch-1")) == 1


def test_a_device_waits_until_somebody_approves_it(door: Enrolments, tmp_path: Path) -> None:
    token = door.token(cap=2, approve=True)
    for _ in range(2):
        with pytest.raises(NotYet, match="edgefleet device approve porch-1"):
            come(door, tmp_path / "one", token)
    with pytest.raises(TurnedAway, match="another key waits to be porch-1"):
        come(door, tmp_path / "two", token)
    with door.database.write() as connection:
        (row,) = enrolments.waiting(connection)
        enrolments.judge(connection, row, "approved")
    assert [line for line in door.audit() if "waits for approval, board 10000000abcdef12" in line]
    door.clock.at_s += 30 * DAY
    come(door, tmp_path / "one", token)
    assert len(live(door, "porch-1")) == 1


def test_a_device_that_was_rejected_stays_out_and_frees_its_place(door: Enrolments, tmp_path: Path) -> None:
    token = door.token(approve=True)
    with pytest.raises(NotYet):
        come(door, tmp_path / "one", token)
    with door.database.write() as connection:
        enrolments.judge(connection, enrolments.waiting(connection)[0], "rejected")
    with pytest.raises(TurnedAway, match="somebody refused porch-1"):
        come(door, tmp_path / "one", token)
    with pytest.raises(NotYet):
        come(door, tmp_path / "two", token, device="porch-2")


def test_one_board_takes_one_place_of_a_batch(door: Enrolments, tmp_path: Path) -> None:
    token = door.token(cap=5, allowed=(Allowed("10000000abcdef12"),))
    come(door, tmp_path / "one", token)
    with pytest.raises(TurnedAway, match=r"came with token .* before, under another key"):
        come(door, tmp_path / "two", token, device="porch-2")


def test_a_renewal_comes_at_two_thirds_with_a_new_key_and_the_old_pair_stays_until_it_connected(
    door: Enrolments, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    identity = come(door, state, door.token())
    old = identity.certificate_pem
    assert renew(state, at(NOW + 59 * DAY)) == timedelta(days=1)
    assert identity.next_pair() is None
    door.clock.at_s += 60 * DAY
    assert renew(state, at(door.clock.at_s)) == timedelta(days=60)
    new = identity.next_pair()
    assert new is not None and identity.certificate_pem == old
    assert identity_crypto.key_mark(new.key.read_bytes()) != identity_crypto.key_mark(identity.key_path.read_bytes())
    take_next(identity.folder)
    assert identity.next_pair() is None and identity.certificate_pem != old
    rows = live(door, "porch-1")
    assert rows[0].replaces == rows[1].serial and rows[0].confirmed_s and rows[1].confirmed_s


def test_a_renewal_whose_answer_was_lost_is_answered_again(door: Enrolments, tmp_path: Path) -> None:
    state = tmp_path / "state"
    identity = come(door, state, door.token())
    door.clock.at_s += 60 * DAY
    renew(state, at(door.clock.at_s))
    first = identity.next_pair().certificate.read_bytes()
    (identity.folder / "next").rename(identity.folder / "next.new")
    (identity.folder / "next.new/certificate.pem").unlink()
    renew(state, at(door.clock.at_s))
    assert identity.next_pair().certificate.read_bytes() == first


def test_a_device_that_slept_past_its_end_renews_up_to_a_year(door: Enrolments, tmp_path: Path) -> None:
    state = tmp_path / "state"
    identity = come(door, state, door.token())
    copy = shutil.copytree(state, tmp_path / "copy")
    door.clock.at_s += (90 + 364) * DAY
    with pytest.raises(TurnedAway, match="the certificate is over"):
        Est(door.url, identity.ca_path.read_bytes(), identity.pair).settings()
    renew(state, at(door.clock.at_s))
    assert identity.next_pair() is not None
    door.clock.at_s += 2 * DAY
    with pytest.raises(TurnedAway, match="more than a year ago: enrol with a new token"):
        renew(copy, at(door.clock.at_s))


def test_whoever_renews_a_copy_of_an_identity_raises_an_alarm(door: Enrolments, tmp_path: Path) -> None:
    state = tmp_path / "state"
    come(door, state, door.token())
    copy = shutil.copytree(state, tmp_path / "copy")
    door.clock.at_s += 60 * DAY
    renew(state, at(door.clock.at_s))
    with pytest.raises(TurnedAway, match="whoever asks now has a copy"):
        renew(copy, at(door.clock.at_s))
    assert door.counters.get("identities_copied") == 1


def test_a_renewal_that_never_arrived_ends_when_another_is_asked_for(door: Enrolments, tmp_path: Path) -> None:
    state = tmp_path / "state"
    identity = come(door, state, door.token())
    door.clock.at_s += 60 * DAY
    est = Est(door.url, identity.ca_path.read_bytes(), identity.pair)
    est.renew(identity_crypto.request(identity_crypto.new_key(), "porch-1", None))
    lost = live(door, "porch-1")[0]
    renew(state, at(door.clock.at_s))
    assert lost.serial not in {row.serial for row in live(door, "porch-1")}
    assert f"{next(iter(read_crl(door.authority.folder))).serial_number:x}" == lost.serial


def test_a_renewal_is_refused_for_a_revoked_certificate_a_foreign_name_and_the_old_key(
    door: Enrolments, tmp_path: Path
) -> None:
    identity = come(door, tmp_path / "state", door.token())
    est = Est(door.url, identity.ca_path.read_bytes(), identity.pair)
    with pytest.raises(TurnedAway, match="is that of porch-1, and the request names porch-2"):
        est.renew(identity_crypto.request(identity_crypto.new_key(), "porch-2", None))
    with pytest.raises(TurnedAway, match="has the old key"):
        est.renew(identity_crypto.request(identity.key_path.read_bytes(), "porch-1", None))
    with door.database.write() as connection:
        identities.revoke(connection, live(door, "porch-1")[0].serial, door.clock.now())
    with pytest.raises(TurnedAway, match="was revoked"):
        est.renew(identity_crypto.request(identity_crypto.new_key(), "porch-1", None))
    with pytest.raises(TurnedAway, match="the certificate is revoked"):
        est.settings()


def test_without_a_certificate_nothing_is_renewed_or_told(door: Enrolments, tmp_path: Path) -> None:
    est = Est(door.url, door.authority.ca_pem)
    with pytest.raises(TurnedAway, match="needs the device's certificate"):
        est.renew(identity_crypto.request(identity_crypto.new_key(), "porch-1", None))
    with pytest.raises(TurnedAway, match="needs the device's certificate"):
        est.settings()


def test_the_servers_own_certificates_are_no_devices(door: Enrolments) -> None:
    from edgefleet_agent.identity import Pair

    folder = door.authority.folder
    est = Est(door.url, door.authority.ca_pem, Pair(folder / "hub.key", folder / "hub.pem"))
    with pytest.raises(TurnedAway, match="not one that this server gave"):
        est.settings()


def test_a_sealed_image_enrols_each_copy_as_another_device(door: Enrolments, tmp_path: Path) -> None:
    state, batch = tmp_path / "state", door.token(cap=2)
    come(door, state, door.token(), device="golden")
    (state / "facts.json").write_text("{}")
    with pytest.raises(AgentError, match="by which token"):
        seal(state, None, None, None)
    seal(state, None, batch, None)
    assert sorted(path.name for path in state.iterdir()) == ["board", "enrol"]
    found = set()
    for serial in ("1111", "2222"):
        copy = shutil.copytree(state, tmp_path / serial)
        from edgefleet_agent import enrol_seed

        enrol(copy, enrol_seed.load(copy), board(copy / "board", serial))
        found.add(Identity.load(copy).device)
    assert found == {"pi4-1111", "pi4-2222"}


def test_a_sealed_image_takes_no_other_root_than_its_own(door: Enrolments, tmp_path: Path) -> None:
    state = tmp_path / "state"
    seed = replace_root(seeded(state, door.url, door.token()), b"another root")
    with pytest.raises(BadIdentity, match="this is another fleet"):
        enrol(state, seed, board(state / "board"))


def replace_root(seed, root: bytes):
    from msgspec.structs import replace as change

    return change(seed, root=base64.b64encode(root).decode())


def test_another_makers_est_server_serves_as_well_with_a_bundle(door: Enrolments, tmp_path: Path) -> None:
    """Ours, asked as if it knew no settings: what EST does not carry comes with the bundle."""
    from msgspec.structs import replace as change

    from edgefleet_agent import enrol_seed

    bundle, state = tmp_path / "bundle", tmp_path / "state"
    bundle.mkdir()
    (bundle / "ca.pem").write_bytes(door.authority.ca_pem)
    (bundle / "root.json").write_bytes(b"their root")
    (bundle / "enrolment.json").write_text('{"fleet": "theirs", "broker": {"host": "mqtt.example", "port": 8883}}')
    seed = change(seeded(state, door.url, door.token().split(".")[2]), bundle=True)
    enrol_seed.save(state, seed, bundle)
    enrol(state, seed, board(state / "board"))
    identity = Identity.load(state)
    assert (identity.fleet, identity.enrolment.broker.host) == ("theirs", "mqtt.example")
    assert identity.root_path.read_bytes() == b"their root"
    door.clock.at_s += 60 * DAY
    renew(state, at(door.clock.at_s))
    assert identity.next_pair() is not None


def test_a_server_that_is_not_there_is_tried_again(tmp_path: Path, door: Enrolments) -> None:
    token = door.token()
    door.listener.stop()
    with pytest.raises(Unreachable, match="no enrolment server at"):
        come(door, tmp_path / "state", token)


def test_the_door_answers_others_while_many_connections_say_nothing(door: Enrolments, tmp_path: Path) -> None:
    idle = [socket.create_connection(("127.0.0.1", door.listener.port)) for _ in range(20)]
    try:
        come(door, tmp_path / "state", door.token())
    finally:
        for one in idle:
            one.close()


def test_the_server_takes_a_new_certificate_of_its_own_without_a_restart(door: Enrolments) -> None:
    before = ssl.get_server_certificate(("127.0.0.1", door.listener.port))
    door.authority.renew_own(["127.0.0.1"], at(NOW))
    door.listener.reload()
    assert ssl.get_server_certificate(("127.0.0.1", door.listener.port)) != before


def test_tokens_are_kept_by_their_hash_only(door: Enrolments) -> None:
    token = door.token(allowed=(Allowed("1", "one"),), tags=("a",))
    with door.database.read() as connection:
        (row,) = enrol_tokens.every(connection)
    assert row.allowed == (Allowed("1", "one"),) and row.tags == ("a",)
    assert token.split(".")[2] not in repr(row)
    assert replace(row, cap=2).cap == 2
