"""Whose state is believed: through the router, with a real authority."""

import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import msgspec
import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgefleet_protocol.codec import encode
from edgefleet_protocol.errors import BadSignature
from edgefleet_protocol.messages import DeviceState
from edgefleet_protocol.trust import COMMAND_TYPE, DEVICE_STATE_TYPE
from edgefleet_server.app import Server
from edgefleet_server.config import IdentityConfig
from edgefleet_server.ingest.signed import CannotJudge, DeviceAuthority
from edgefleet_server.link.inbox import Incoming
from tests.fakes.identity import FakeAuthority, FakeSigner

from .conftest import MakeServer

AUTHORITY, STRANGER = FakeAuthority(), FakeAuthority()
SIGNER = AUTHORITY.issue("pi-one")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The authority's, as `[identity]` names it."""
    AUTHORITY.write(tmp_path / "identity")
    return tmp_path / "identity"


@pytest.fixture
def server(make_server: MakeServer, folder: Path) -> Iterator[Server]:
    """A server with an authority, and no broker."""
    server = make_server(1, identity=IdentityConfig(folder))
    yield server
    server.database.close()


def state(signer: FakeSigner | None = SIGNER, **fields: object) -> DeviceState:
    values = {
        "device": "pi-one",
        "session": 1,
        "boot": "b",
        "at_s": 1.0,
        "agent_version": "0.1.0",
        "number": 1,
        "starts": ("a",),
    }
    certificate = signer.certificate if signer else ""
    return DeviceState(**{**values, "certificate": certificate, **fields})  # type: ignore[arg-type]


def signed(document: DeviceState, signer: FakeSigner = SIGNER, payload_type: str = DEVICE_STATE_TYPE) -> bytes:
    return signer.sign_envelope(payload_type, encode(document))


def tell(server: Server, data: bytes, device: str = "pi-one", retained: bool = False) -> None:
    topic = server.topics.of_device(device, "state")
    server.router.handle([Incoming(topic, data, retained=retained, session=1, mid=1, qos=1)])


def known(server: Server) -> list[str]:
    return [row["id"] for row in server.views.devices()]


def test_a_state_of_the_fleets_own_device_is_taken_and_its_signer_shown(server: Server) -> None:
    tell(server, signed(state()))
    shown = server.views.device("pi-one")
    assert (shown["machine"], len(shown["signed_by"]), shown["document"]["number"]) == ("", 64, 1)
    assert server.counters.get("state_taken") == 1


ENDED = AUTHORITY.issue("pi-one", not_after=datetime(2020, 1, 1, tzinfo=timezone.utc))
OTHER = AUTHORITY.issue("pi-two")
SERVER = AUTHORITY.issue("pi-one", usage=ExtendedKeyUsageOID.SERVER_AUTH)
FOREIGN = STRANGER.issue("pi-one")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encode(state(None)), "not an envelope"),
        (encode(state()), "not an envelope"),
        (signed(state(None)), "brings no certificate along"),
        (signed(state(FOREIGN), FOREIGN), "not of this fleet's authority"),
        (signed(state(OTHER), OTHER), "its certificate is of pi-two, and this is pi-one's topic"),
        (signed(state(SIGNER), OTHER), "did not sign it"),
        (signed(state(ENDED), ENDED), "its certificate ended on 2020-01-01"),
        (signed(state(SERVER), SERVER), "not one for clients"),
        (signed(state(), payload_type=COMMAND_TYPE), "was expected"),
        (signed(state(certificate="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----")), "cannot be read"),
    ],
)  # fmt: skip
def test_what_is_not_signed_as_it_must_be_is_not_believed(folder: Path, data: bytes, words: str) -> None:
    with pytest.raises(BadSignature, match=re.escape(words)):
        DeviceAuthority(folder).opened(data, "pi-one", time.time(), live=True)


def test_what_the_broker_remembers_may_be_of_a_certificate_that_has_ended_since(folder: Path) -> None:
    assert DeviceAuthority(folder).opened(signed(state(ENDED), ENDED), "pi-one", time.time(), live=False)


def test_a_refused_state_is_counted_and_told_once_in_a_while(server: Server) -> None:
    forged = signed(state(FOREIGN), FOREIGN)
    tell(server, forged)
    assert known(server) == [] and server.views.events() == []
    tell(server, signed(state()))
    tell(server, forged)
    tell(server, encode(state(None, agent_version="9.9.9")))
    tell(server, signed(state(device="pi-two")))
    assert [row["kind"] for row in server.views.events()] == ["state-refused"]
    assert server.counters.get("state_refused") == 4
    assert server.views.device("pi-one")["document"]["agent_version"] == "0.1.0"


def test_a_certificate_that_is_revoked_is_not_believed_from_then_on(server: Server, tmp_path: Path) -> None:
    authority = FakeAuthority(name="others")
    authority.write(tmp_path / "identity")
    mine = authority.issue("pi-one")
    tell(server, signed(state(mine), mine))
    assert known(server) == ["pi-one"]
    authority.revoke(mine)
    authority.write(tmp_path / "identity")
    tell(server, signed(state(mine, number=2), mine))
    assert "is revoked" in server.counters.reasons()["state_refused"]
    assert server.views.device("pi-one")["document"]["number"] == 1


@pytest.mark.parametrize("spoil", ["crl.pem is gone", "crl.pem is another's", "ca.pem is torn"])
def test_without_a_list_that_can_be_judged_nothing_is_believed(folder: Path, tmp_path: Path, spoil: str) -> None:
    if spoil == "crl.pem is gone":
        (folder / "crl.pem").unlink()
    elif spoil == "ca.pem is torn":
        (folder / "ca.pem").write_bytes((folder / "ca.pem").read_bytes()[:100])
    else:
        STRANGER.write(tmp_path / "strange")
        (tmp_path / "strange/crl.pem").replace(folder / "crl.pem")
    with pytest.raises(CannotJudge, match="no certificate can be judged"):
        DeviceAuthority(folder).opened(signed(state()), "pi-one", time.time(), live=True)


@pytest.mark.parametrize("name", ["ca.pem", "crl.pem"])
def test_what_comes_while_the_authority_cannot_be_read_is_kept_and_taken_afterwards(
    server: Server, folder: Path, name: str
) -> None:
    tell(server, signed(state()))
    (folder / name).rename(folder / "away")
    with pytest.raises(CannotJudge, match=name):  # so it is not acknowledged, and comes again
        tell(server, signed(state(number=2)))
    assert server.counters.get("state_refused") == 0
    (folder / "away").rename(folder / name)
    tell(server, signed(state(number=2)))
    assert server.views.device("pi-one")["document"]["number"] == 2


def test_a_replay_of_an_older_signed_state_changes_nothing(server: Server) -> None:
    old = signed(state())
    tell(server, old)
    tell(server, signed(state(number=2, agent_version="0.2.0")))
    tell(server, old)
    tell(server, old, retained=True)
    assert server.views.device("pi-one")["document"]["agent_version"] == "0.2.0"
    assert server.counters.get("state_stale") == 2


def test_damaged_facts_without_a_reboot_do_not_silence_a_device(server: Server) -> None:
    tell(server, signed(state(session=40_000_001, number=90)))
    tell(server, signed(state(session=1_000_001, number=1, starts=("a", "b"), agent_version="0.2.0")))
    shown = server.views.device("pi-one")
    assert (shown["document"]["agent_version"], shown["session"], shown["alarm"]) == ("0.2.0", 1_000_001, None)


def test_s13_a_clone_is_named_and_in_quarantine_until_somebody_decides(server: Server) -> None:
    turns = [("a", "10"), ("b", "20"), ("a", "10"), ("b", "20")]
    for count, (head, machine) in enumerate(turns):
        tell(server, signed(state(starts=("x", head), machine=machine, number=1 + count, region="eu-west")))
    shown = server.views.device("pi-one")
    assert "board 10 " in shown["alarm"]["why"] and "board 20 " in shown["alarm"]["why"]
    assert [row["kind"] for row in server.views.events()] == ["cloned"]
    assert [row["action"] for row in server.views.audit()] == ["device.quarantine"]
    with pytest.raises(Exception, match="is in quarantine"):
        server.controller.assign("pi-one", "eu-west", (), "ana")
    server.controller.clear_alarm("pi-one", "ana", "one burnt")
    assert server.views.device("pi-one")["alarm"] is None
    tell(server, signed(state(starts=("x", "b"), machine="20", number=9)))
    assert server.views.device("pi-one")["alarm"] is None
    tell(server, signed(state(starts=("x", "a"), machine="10", number=9)))
    assert server.views.device("pi-one")["alarm"] is not None


def test_a_server_without_an_authority_takes_both_and_says_who_signed_nothing(make_server: MakeServer) -> None:
    server = make_server(1)
    tell(server, encode(state(None)))
    tell(server, signed(state(number=2)))
    assert server.views.device("pi-one")["document"]["number"] == 2
    assert server.views.device("pi-one")["signed_by"] == ""
    server.database.close()


def test_a_device_that_does_not_verify_what_is_out_is_frozen(server: Server) -> None:
    version = msgspec.json.decode(server.repository.metadata()["timestamp.json"])["signed"]["version"]
    tell(server, signed(state(trust={"timestamp": version - 1})))
    server.views._frozen_after_s = -1.0
    shown = server.views.device("pi-one")
    assert shown["frozen"] and shown["trust_behind_s"] is not None
    tell(server, signed(state(number=2, trust={"timestamp": version})))
    shown = server.views.device("pi-one")
    assert not shown["frozen"] and shown["trust_behind_s"] is None
