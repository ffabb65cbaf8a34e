"""Commands from the API to the broker and back, without a device: what is sent, what is refused, what is kept."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.dsse import open_envelope
from edgefleet_protocol.messages import Command, DeviceState, Reply
from edgefleet_protocol.trust import COMMAND_TYPE
from edgefleet_server.app import Server
from edgefleet_server.commands import device
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.store import commands
from edgefleet_server.views import device as views
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.intruder import Intruder
from tests.fakes.repository import FakeRepository

from .conftest import MakeServer


@pytest.fixture
def server(make_server: MakeServer, broker: BrokerProcess) -> Iterator[Server]:
    """A server with its broker, and a device that was heard of."""
    with make_server(broker.port) as server:
        assert server.broker.wait_connected(20)
        say(server, command_number=4)
        yield server


def say(server: Server, **fields: object) -> None:
    values = {
        "device": "pi-one",
        "session": 7,
        "boot": "b",
        "at_s": 1.0,
        "agent_version": "0.1.0",
        "command_epoch": "e1",
    }
    tell(server, "state", encode(DeviceState(**{**values, **fields})))  # type: ignore[arg-type]


def tell(server: Server, kind: Any, data: bytes) -> None:
    server.router.handle([Incoming(server.topics.of_device("pi-one", kind), data, False, 1, 1, 1)])


def order(server: Server, **body: object) -> Any:
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    return client.post("/v1/devices/pi-one/commands", json={"action": "ping", **body})


def get(server: Server, number: int) -> Any:
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    return client.get(f"/v1/devices/pi-one/commands/{number}").json()


def test_a_command_goes_out_signed_numbered_and_short_lived_and_its_answer_comes_back(
    server: Server, broker: BrokerProcess, repo: FakeRepository
) -> None:
    with Intruder(broker.port) as reader:
        came = reader.listen(server.topics.of_device("pi-one", "command"))
        row = order(server, action="restart", arguments={"model": "fashion"}, life_s=30).json()
        envelope = came.get(timeout=20)
    public = repo.online.public("commands")
    from edgefleet_agent.signatures import verifiers
    from edgefleet_protocol.trust import PublicKey

    key = PublicKey(keyid=public.keyid, keytype=public.keytype, scheme=public.scheme, public=public.keyval["public"])
    command = decode(open_envelope(envelope, COMMAND_TYPE, verifiers([key])), Command)
    assert (command.device, command.number, command.epoch, command.session) == ("pi-one", 5, "e1", 7)
    assert (command.action, command.arguments) == ("restart", {"model": "fashion"})
    assert 0 < command.expires_s - time.time() <= 30
    assert row["status"] == "waiting"
    answer = Reply(device="pi-one", number=5, epoch="e1", ok=True, text="done", facts={"explain": "all of it"})
    tell(server, "reply", encode(answer))
    shown = get(server, row["id"])
    assert (shown["status"], shown["text"], shown["facts"]) == ("done", "done", {"explain": "all of it"})
    tell(server, "reply", encode(Reply(device="pi-one", number=5, epoch="e1", ok=False, text="another")))
    assert get(server, row["id"])["text"] == "done"
    assert server.counters.get("reply_stale") == 1
    assert [deed["outcome"] for deed in server.views.audit()] == ["number 5: restart model=fashion"]


def test_numbers_count_on_whatever_was_forgotten_and_begin_anew_in_a_new_epoch(server: Server) -> None:
    assert [order(server).json()["number"] for _ in range(2)] == [5, 6]
    say(server, command_number=40)
    assert order(server).json()["number"] == 41
    say(server, command_epoch="e2", command_number=0)
    assert order(server).json()["number"] == 1


def test_without_an_answer_it_expires(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    row = order(server, life_s=1).json()
    monkeypatch.setattr(views, "ANSWER_S", -2.0)
    assert get(server, row["id"])["status"] == "expired"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"life_s": 301}, "life_s is 301"),
        ({"action": "Ping me"}, "action is 'Ping me'"),
        ({"arguments": {"x": 7}}, "arguments.x is 7"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_by_the_field(
    server: Server, body: dict[str, object], words: str
) -> None:
    answer = order(server, **body)
    assert answer.status_code == 422 and words in answer.json()["detail"]


def test_what_no_device_would_obey_is_refused_with_the_range_and_sent_to_nobody(server: Server) -> None:
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    lines, seconds = "write a number of lines from 1 to 500", "write a number of seconds from 60 to 31622400"
    for action, arguments, words in (
        ("logs", {"lines": "-5"}, f"arguments.lines of logs is '-5': {lines}"),
        ("logs", {"lines": "nan"}, lines),
        ("pin", {"for_s": "0"}, seconds),
        ("rollback", {"for_s": "1e12"}, seconds),
    ):
        body = {"action": action, "arguments": arguments}
        one = client.post("/api/v1/devices/pi-one/commands", json=body)
        many = client.post("/api/v1/commands", json={**body, "devices": ["pi-one"]})
        for answer in (one, many):
            assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text
    with server.database.read() as connection:
        assert list(commands.latest(connection, "pi-one", 9)) == []


def test_a_number_of_lines_that_no_log_has_is_refused_before_it_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert device(["logs", "pi-one", "--lines", "-5", "--server", "http://127.0.0.1:9"]) == 2
    assert "-5 is not from 1 to 500" in capsys.readouterr().err


def test_a_device_that_counts_no_commands_and_one_without_a_way_to_it_are_refused(
    server: Server, broker: BrokerProcess
) -> None:
    say(server, command_epoch="")
    answer = order(server)
    assert (answer.status_code, "too old for them" in answer.json()["detail"]) == (409, True)
    say(server)
    broker.stop()
    end = time.monotonic() + 20
    while server.broker.session is not None and time.monotonic() < end:
        time.sleep(0.05)
    answer = order(server)
    assert (answer.status_code, "would be late" in answer.json()["detail"]) == (409, True)
    assert server.views.commands("pi-one", 10) == []
