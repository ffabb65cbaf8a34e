"""A device that was decommissioned is out: its topics are cleared, what it says makes no new device, and it is named."""

import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event, Presence
from edgefleet_protocol.telemetry import TelemetryBatch, Window
from edgefleet_protocol.topics import TABLE
from edgefleet_server.alerts.findings import find
from edgefleet_server.alerts.rules import DEFAULTS
from edgefleet_server.app import Server
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.store import devices, events
from edgefleet_server.store.schema import decommissioned
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.intruder import Intruder
from tests.fakes.scripted_device import PI4, eventually

from .conftest import MakeServer


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    server = make_server(1)
    tell(server, "state")
    tell(server, "event")
    yield server
    server.database.close()


@pytest.fixture
def client(server: Server) -> TestClient:
    return TestClient(server.web, base_url="http://127.0.0.1:8300", raise_server_exceptions=False)


def payload(kind: str, device: str = "one") -> bytes:
    if kind == "event":
        return encode(Event(device=device, boot="b", number=1, at_s=1.0, kind="activated", text="fashion/1"))
    if kind == "presence":
        return encode(Presence(device=device, session=1, online=True))
    return encode(
        DeviceState(device=device, session=1, boot="b", at_s=1.0, agent_version="0.1.0", region="eu-west", hardware=PI4)
    )


def tell(server: Server, kind: Any, retained: bool = False) -> None:
    topic = server.topics.of_device("one", kind)
    server.router.handle([Incoming(topic, payload(kind), retained, 1, 1, 1)])


def known(server: Server) -> list[str]:
    with server.database.read() as connection:
        return [row.id for row in devices.every(connection)]


def told(server: Server) -> list[str]:
    with server.database.read() as connection:
        return [row.text for row in events.latest(connection, device="one")]


def gone(client: TestClient) -> Any:
    (row,) = client.get("/v1/decommissioned").json()["items"]
    return row


@pytest.mark.parametrize(("kept", "left"), [("archive", ["fashion/1"]), ("forget", [])])
def test_it_leaves_the_fleet_and_what_it_said_is_kept_or_forgotten_by_choice(
    server: Server, client: TestClient, kept: str, left: list[str]
) -> None:
    answer = client.post("/v1/devices/one/decommission", json={"kept": kept, "why": "burnt"}).json()
    assert answer["done"] and [step["name"] for step in answer["steps"]] == ["device", "topics", "certificates"]
    assert "keeps no identities" in answer["steps"][2]["words"]
    assert known(server) == [] and told(server) == left
    assert client.get("/v1/devices/one").status_code == 404
    row = gone(client)
    assert (row["device"], row["region"], row["why"], row["kept"], row["spoke_s"]) == (
        "one",
        "eu-west",
        "burnt",
        kept,
        None,
    )
    deed = client.get("/v1/audit").json()["items"][0]
    assert (deed["action"], deed["region"]) == ("device.decommission", "eu-west")
    assert deed["outcome"].startswith(f"{kept}, burnt; device: taken out")


def a_minute_ago(server: Server) -> None:
    with server.database.write() as connection:
        connection.execute(decommissioned.update().values(at_s=decommissioned.c.at_s - 60))


@pytest.mark.parametrize("kind", ["state", "presence", "event"])
def test_s13_one_that_speaks_again_is_named_in_an_alert_and_not_resurrected(
    server: Server, client: TestClient, kind: str
) -> None:
    client.post("/v1/devices/one/decommission", json={"kept": "forget"})
    a_minute_ago(server)
    tell(server, kind)
    assert known(server) == [] and told(server) == []
    row = gone(client)
    assert row["spoke_kind"] == kind and time.time() - row["spoke_s"] < 60
    assert server.counters.get(f"{kind}_refused") == 1
    facts = server.watching.gatherer.gather()
    texts = [row.text for row in find(facts, DEFAULTS, {}, time.time()) if row.rule.name == "decommissioned-speaks"]
    assert texts == [
        f"one was decommissioned by a person on this machine and speaks again ({kind}); nothing that it says is taken"
    ]


def test_its_telemetry_is_not_kept_makes_no_new_device_and_is_its_voice_too(server: Server, client: TestClient) -> None:
    client.post("/v1/devices/one/decommission", json={})
    a_minute_ago(server)
    window = Window(start_s=time.time(), seconds=10.0, boot="b", started_monotonic_s=1.0)
    data = zlib.compress(encode(TelemetryBatch(device="one", windows=(window,))))
    server.router.handle([Incoming(server.topics.of_device("one", "telemetry"), data, False, 1, 1, 1)])
    assert known(server) == [] and gone(client)["spoke_kind"] == "telemetry"
    assert (server.counters.get("telemetry_refused"), server.counters.get("windows_taken")) == (1, 0)


def test_what_was_under_way_or_retained_and_its_last_will_are_not_taken_for_its_voice(
    server: Server, client: TestClient
) -> None:
    client.post("/v1/devices/one/decommission", json={})
    tell(server, "state")
    a_minute_ago(server)
    tell(server, "state", retained=True)
    will = encode(Presence(device="one", session=1, online=False))
    server.router.handle([Incoming(server.topics.of_device("one", "presence"), will, False, 1, 1, 1)])
    assert gone(client)["spoke_s"] is None and known(server) == []


def test_the_empty_message_of_a_topic_that_is_cleared_is_not_taken_for_its_voice(
    server: Server, client: TestClient
) -> None:
    client.post("/v1/devices/one/decommission", json={})
    server.router.handle([Incoming(server.topics.of_device("one", "state"), b"", False, 1, 1, 1)])
    assert gone(client)["spoke_s"] is None


def test_its_name_is_given_to_nobody_until_it_is_readmitted(server: Server, client: TestClient) -> None:
    client.post("/v1/devices/one/decommission", json={"why": "sold"})
    answer = client.put("/v1/devices/one/assignment", json={"region": "eu-west"})
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith(
        "one was decommissioned by a person on this machine (sold): to have it back"
    )
    assert client.post("/v1/devices/one/decommission", json={}).status_code == 200  # again: what failed is done anew
    assert gone(client)["why"] == "sold"
    assert client.post("/v1/devices/one/readmit", json={}).status_code == 200
    assert client.post("/v1/devices/one/readmit", json={}).status_code == 404
    tell(server, "state")
    assert known(server) == ["one"]
    assert client.post("/v1/devices/one/readmit", json={}).status_code == 409
    assert client.post("/v1/devices/nobody/decommission", json={}).status_code == 404
    assert client.post("/v1/devices/BAD/decommission", json={}).status_code in (404, 422)


def test_a_server_that_is_started_again_knows_who_is_gone(
    server: Server, client: TestClient, make_server: MakeServer
) -> None:
    client.post("/v1/devices/one/decommission", json={})
    server.database.close()
    again = make_server(1)
    tell(again, "state")
    assert known(again) == []
    again.database.close()


def test_every_retained_topic_of_it_is_cleared_on_the_broker_also_what_it_leaves_there_later(
    make_server: MakeServer, broker: BrokerProcess
) -> None:
    with make_server(broker.port) as server, Intruder(broker.port) as device:
        assert server.broker.wait_connected(20)
        client = TestClient(server.web, base_url="http://127.0.0.1:8300")
        topics = [server.topics.of_device("one", row.kind) for row in TABLE if row.retained and "{id}" in row.pattern]
        device.put(server.topics.of_device("one", "state"), payload("state"))
        device.put(server.topics.of_device("one", "presence"), payload("presence"))
        eventually("it is known", lambda: known(server) == ["one"])
        assert client.put("/v1/devices/one/assignment", json={"region": "eu-west"}).status_code == 200
        eventually("it is assigned", lambda: len(device.retained(f"{server.topics.prefix}/device/one")) == 3)
        assert sorted(device.retained(f"{server.topics.prefix}/device/one")) == sorted(topics)
        assert client.post("/v1/devices/one/decommission", json={}).status_code == 200
        eventually("its topics are cleared", lambda: device.retained(f"{server.topics.prefix}/device/one") == {})
        device.put(server.topics.of_device("one", "state"), payload("state"))
        eventually("that too", lambda: device.retained(f"{server.topics.prefix}/device/one") == {})
        assert known(server) == []
