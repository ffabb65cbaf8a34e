"""Rollouts over a real broker, with small scripted devices."""

from securesystemslib.signer import Signature

from edgefleet_protocol.dsse import open_envelope
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE
from edgefleet_server.app import Server
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.store.rollouts import Record
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import ScriptedDevice, eventually

from .conftest import MakeServer

STAGES = (50.0, 100.0)


def known(server: Server, count: int) -> bool:
    return sum(row["hardware_class"] is not None for row in server.views.devices()) == count


def current(server: Server, region: str = "eu-west") -> Record:
    return next(record for record in server.controller.current(region))


def signed(server: Server, region: str = "eu-west") -> list[str]:
    document = server.repository.rollout(region)
    return [row.release.path for row in document.assignments if row.percent == 100.0] if document else []


def test_a_rollout_in_two_stages_ends_with_every_device_proven(broker: BrokerProcess, make_server: MakeServer) -> None:
    with (
        make_server(broker.port) as server,
        ScriptedDevice(broker.port, "one", "eu-west") as one,
        ScriptedDevice(broker.port, "two", "eu-west") as two,
        ScriptedDevice(broker.port, "three", "ap-south") as three,
    ):
        eventually("three devices known", lambda: known(server, 3))
        server.controller.begin(Order("fashion/1", stages=STAGES), "a test")
        for region in ("eu-west", "ap-south"):
            eventually(f"complete in {region}", lambda region=region: current(server, region).status == "complete")
        assert {device.running["fashion"].release for device in (one, two, three)} == {"fashion/1"}
        eventually("signed", lambda: signed(server) == ["releases/fashion/1.json"])
        kinds = [move["kind"] for move in server.views.rollouts("eu-west")[0]["moves"]]
        assert kinds == ["start", "open", "complete"]
        assert one.trust.keys() >= {"head", "timestamp.json"}


def test_a_release_that_fails_on_a_device_goes_back_everywhere_with_the_reason(
    broker: BrokerProcess, make_server: MakeServer
) -> None:
    fails = {"fashion/2": "answers differ by 3.1 where 0.0001 may"}
    with (
        make_server(broker.port) as server,
        ScriptedDevice(broker.port, "one", "eu-west", fails=fails) as one,
        ScriptedDevice(broker.port, "two", "eu-west", fails=fails) as two,
    ):
        eventually("two devices known", lambda: known(server, 2))
        server.controller.begin(Order("fashion/1", regions=("eu-west",)), "a test")
        eventually("complete", lambda: current(server).status == "complete")
        server.controller.begin(Order("fashion/2", regions=("eu-west",), stages=STAGES), "a test")
        eventually("gone back", lambda: current(server).status == "gone-back")
        assert "answers differ by 3.1" in current(server).why
        eventually("signed", lambda: signed(server) == ["releases/fashion/1.json"])
        document = server.repository.rollout("eu-west")
        assert document is not None
        eventually("both obey", lambda: {d.rollout.serial for d in (one, two) if d.rollout} == {document.serial})
        assert {device.running["fashion"].release for device in (one, two)} == {"fashion/1"}


def test_a_server_that_dies_in_the_middle_goes_on_where_it_was(broker: BrokerProcess, make_server: MakeServer) -> None:
    with ScriptedDevice(broker.port, "one", "eu-west", stalls=("fashion/1",)) as one:
        with make_server(broker.port) as server:
            eventually("a device known", lambda: known(server, 1))
            server.controller.begin(Order("fashion/1", regions=("eu-west",), stages=(100.0,)), "a test")
            eventually("under way", lambda: bool(one.rollout))
            serial = one.rollout.serial if one.rollout else 0
        one.event("activated", "said while the server was away")
        one.stalls = ()
        with make_server(broker.port) as server:
            eventually("complete", lambda: current(server).status == "complete")
            assert server.controller.current("eu-west")[0].id == 1
            document = server.repository.rollout("eu-west")
            assert document is not None and document.serial == serial, "the same document was not signed again"
            eventually("the event came", lambda: any("while the server" in e["text"] for e in server.views.events()))


def test_a_device_that_never_saw_the_release_does_not_hold_it_open(
    broker: BrokerProcess, make_server: MakeServer
) -> None:
    with make_server(broker.port) as server:
        with ScriptedDevice(broker.port, "gone", "eu-west") as gone:
            eventually("known", lambda: known(server, 1))
            gone.hang_up()
            eventually("its will came", lambda: not server.views.device("gone")["online"])
        with ScriptedDevice(broker.port, "here", "eu-west") as here:
            eventually("two known", lambda: known(server, 2))
            server.controller.begin(Order("fashion/1", regions=("eu-west",)), "a test")
            eventually("complete", lambda: current(server).status == "complete")
            assert "1 outstanding" in current(server).why
            assert here.running["fashion"].release == "fashion/1"
        with ScriptedDevice(broker.port, "gone", "eu-west", session=2) as back:
            eventually("it converges when it is back", lambda: "fashion" in back.running)


def test_a_device_gets_its_assignment_signed_and_numbered(
    broker: BrokerProcess, make_server: MakeServer, repo: FakeRepository
) -> None:
    with make_server(broker.port) as server, ScriptedDevice(broker.port, "one", "eu-west") as one:
        first = server.controller.assign("one", "eu-west", ("lab",), "a test")
        second = server.controller.assign("one", "ap-south", (), "a test")
        assert (first.number, second.number) == (1, 2)
        eventually("the newest came", lambda: any(b'"ap-south"' in _payload(e, repo) for e in one.assignments))
        assert server.views.device("one")["region"] == "ap-south"
        deeds = [row["action"] for row in server.views.audit()]
        assert deeds == ["device.assign", "device.assign"]


def _payload(envelope: bytes, repo: FakeRepository) -> bytes:
    key = repo.online.public("commands")

    def verify(signature: bytes, message: bytes) -> bool:
        key.verify_signature(Signature(key.keyid, signature.hex()), message)
        return True

    return open_envelope(envelope, DEVICE_ASSIGNMENT_TYPE, {key.keyid: verify})
