"""A server reads what the broker remembers of more devices than fit a client's queue, and none is missing."""

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Presence
from edgefleet_protocol.topics import Topics
from edgefleet_server.config import IngestConfig
from edgefleet_server.store import devices
from edgefleet_server.store.database import Database
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.scripted_device import eventually

from .conftest import MakeServer

DEVICES = 260
"""Of 20 kB each: the broker of these tests queues 4 MB for a client, as ours do."""
SHARED = IngestConfig(shared=True)


def states_in(database: Database) -> int:
    with database.read() as connection:
        return sum(row.state is not None for row in devices.every(connection))


def state_of(name: str) -> DeviceState:
    words = {f"limit-{number}": "x" * 240 for number in range(80)}
    return DeviceState(device=name, session=1_000_000, boot="b", at_s=1.7e9, agent_version="0.1.0", limits_held=words)


@pytest.fixture
def full(broker: BrokerProcess) -> BrokerProcess:
    """A broker that retains the state and the presence of each device."""
    topics = Topics("demo")
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="writer")
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    sent = []
    for number in range(DEVICES):
        name = f"dev-{number:03d}"
        presence = Presence(device=name, session=1_000_000, online=False)
        sent.append(client.publish(topics.of_device(name, "presence"), encode(presence), qos=1, retain=True))
        sent.append(client.publish(topics.of_device(name, "state"), encode(state_of(name)), qos=1, retain=True))
    for info in sent:
        info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    return broker


def test_a_server_that_knows_nobody_reads_every_state_back(full: BrokerProcess, make_server: MakeServer) -> None:
    with make_server(full.port, ingest=SHARED) as server:
        eventually("all are known", lambda: states_in(server.database) == DEVICES)


def test_it_asks_for_those_that_it_knows_also_where_no_presence_is_retained(
    broker: BrokerProcess, make_server: MakeServer
) -> None:
    topics, state = Topics("demo"), state_of("alone")
    with make_server(broker.port, ingest=SHARED) as server, server.database.write() as connection:
        devices.put_presence(connection, "alone", 1, False, 1.0, live=False)
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="writer")
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.publish(topics.of_device("alone", "state"), encode(state), qos=1, retain=True).wait_for_publish(60)
    client.disconnect()
    client.loop_stop()
    with make_server(broker.port, ingest=SHARED) as server:
        eventually("it is known", lambda: states_in(server.database) == 1)


def test_a_broker_that_forgot_is_asked_and_nothing_waits_for_its_answer(
    broker: BrokerProcess, make_server: MakeServer
) -> None:
    with make_server(broker.port, ingest=SHARED) as server:
        with server.database.write() as connection:
            for number in range(30):
                devices.put_presence(connection, f"gone-{number}", 1, False, 1.0, live=False)
        eventually("connected", lambda: server.broker.session is not None)
        before = server.broker.session
        assert before is not None
        broker.kill()
        broker.start()
        eventually("connected anew", lambda: (server.broker.session or 0) > before)
        topics = [server.topics.of_device(f"gone-{number}", "state") for number in range(30)]
        assert server.broker.read_retained(topics, 30.0) == frozenset()


def test_a_database_that_is_away_is_told_as_an_outage_and_everybody_is_asked_for_after_it(
    full: BrokerProcess,
    make_server: MakeServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: list[float] = []

    def away(connection: Connection) -> list[str]:
        tries.append(0.0)
        if len(tries) < 3:
            raise OperationalError("SELECT", None, Exception("it is away"))
        return names(connection)

    names = devices.names
    monkeypatch.setattr(devices, "names", away)
    with make_server(full.port, ingest=SHARED) as server:
        eventually("all are known", lambda: states_in(server.database) == DEVICES)
        assert server.database.outage.outages == 1
    assert "the database refuses (reading back: it is away)" in caplog.text
    assert not [row for row in caplog.records if row.exc_info]
