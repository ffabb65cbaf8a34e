"""The broker forgets, dies, and carries nonsense; the fleet's documents are there again, and the server's facts stay."""

import json
import zlib
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event, Need, Presence
from edgefleet_server.app import Server
from edgefleet_server.ingest.router import Router
from edgefleet_server.link.inbox import Incoming
from edgefleet_server.publish.publisher import NEEDS_WAITING
from edgefleet_server.publish.wanted import marker, settled
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.store import retained
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import ScriptedDevice, eventually

from .conftest import MakeServer


class Reader:
    """Everything that a broker retains for the server's topics, read by one more client."""

    def __init__(self, port: int) -> None:
        self.port = port

    def topics(self) -> dict[str, bytes]:
        """Topic to payload, as retained now."""
        found: dict[str, bytes] = {}
        ended: list[bool] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id="reader")
        client.max_queued_messages_set(0)

        def on_message(client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
            if message.topic == "end":
                ended.append(True)
            elif message.retain:
                found[message.topic.removeprefix("edgefleet/v1/demo/")] = bytes(message.payload)

        client.on_message = on_message
        client.on_connect = lambda client, *_: client.subscribe([("edgefleet/v1/demo/#", 0), ("end", 0)])
        client.on_subscribe = lambda client, *_: client.publish("end", b"end")
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        eventually("the reader has read all", lambda: bool(ended))
        client.disconnect()
        client.loop_stop()
        return found


def documents(found: dict[str, bytes]) -> dict[str, bytes]:
    return {topic: data for topic, data in found.items() if topic.split("/")[0] in ("trust", "target", "chunk")}


def published(server: Server, reader: Reader) -> bool:
    """Whether everything that the server's repository says is retained, and chunks are."""
    found = reader.topics()
    wanted = {f"trust/{name}": data for name, data in server.repository.metadata().items()}
    wanted |= {f"target/{name}": data for name, data in server.repository.targets().items()}
    return all(found.get(topic) == data for topic, data in wanted.items()) and any(
        topic.startswith("chunk/") for topic in found
    )


def settled_all(server: Server, reader: Reader) -> bool:
    """Whether the publisher has nothing more to do: its note says what the database says."""
    with server.database.read() as connection:
        put = retained.every(connection)
    document = server.repository.rollout("eu-west")
    done = document is not None and len(document.assignments) == 1 and document.assignments[0].percent == 100.0
    return done and published(server, reader) and reader.topics().get("server/retained") == marker(settled(put))


def known(server: Server) -> bool:
    return any(row["hardware_class"] for row in server.views.devices())


def roll_out(server: Server, release: str = "fashion/1") -> None:
    server.controller.begin(Order(release, regions=("eu-west",)), "a test")
    eventually("complete", lambda: all(row.status == "complete" for row in server.controller.current("eu-west")))


@pytest.mark.parametrize("persistence", [False, True])
def test_after_a_broker_is_killed_everything_is_retained_again(
    tmp_path: Path, make_server: MakeServer, persistence: bool
) -> None:
    with (
        BrokerProcess(tmp_path / "broker", persistence=persistence) as broker,
        make_server(broker.port) as server,
        ScriptedDevice(broker.port, "one", "eu-west"),
    ):
        eventually("known", lambda: known(server))
        roll_out(server)
        reader = Reader(broker.port)
        eventually("published", lambda: published(server, reader))
        before = documents(reader.topics())
        broker.kill()
        eventually("the server noticed", lambda: server.broker.session is None)
        broker.start()
        eventually("all is there again", lambda: documents(reader.topics()) == before)
        eventually("the device is back", lambda: server.views.device("one")["online"])


def test_a_broker_that_remembers_is_not_seeded_again(tmp_path: Path, make_server: MakeServer) -> None:
    with (
        BrokerProcess(tmp_path / "broker", persistence=True) as broker,
        make_server(broker.port) as server,
        ScriptedDevice(broker.port, "one", "eu-west"),
    ):
        eventually("known", lambda: known(server))
        roll_out(server)
        reader = Reader(broker.port)
        eventually("settled", lambda: settled_all(server, reader))
        session = server.broker.session
        sent = server.counters.get("published")
        broker.restart()
        eventually("connected again", lambda: server.broker.session not in (None, session))
        server.controller.assign("one", "eu-west", (), "a test")
        eventually("the new thing is there", lambda: "device/one/assignment" in reader.topics())
        assert server.counters.get("published") == sent + 1
        assert server.counters.get("reseeded") == 0


def test_what_no_rollout_names_is_taken_off_the_broker(broker: BrokerProcess, make_server: MakeServer) -> None:
    with make_server(broker.port) as server, ScriptedDevice(broker.port, "one", "eu-west"):
        eventually("known", lambda: known(server))
        roll_out(server)
        reader = Reader(broker.port)
        eventually("published", lambda: published(server, reader))
        old = {topic for topic in reader.topics() if topic.startswith("chunk/")}
        roll_out(server, "fashion/2")

        def swept() -> bool:
            left = {topic for topic in reader.topics() if topic.startswith("chunk/")}
            return bool(left) and not (old - _shared(server)) & left

        eventually("the old release's chunks are gone", swept)


def _shared(server: Server) -> set[str]:
    release, _ = server.repository.manifest(server.repository.releases()["fashion/2"])
    return {f"chunk/{chunk.sha256}" for entry in release.files for chunk in entry.chunks}


def test_a_chunk_that_was_lost_comes_when_it_is_asked_for(broker: BrokerProcess, make_server: MakeServer) -> None:
    with make_server(broker.port) as server, ScriptedDevice(broker.port, "one", "eu-west") as one:
        eventually("known", lambda: known(server))
        roll_out(server)
        reader = Reader(broker.port)
        eventually("published", lambda: published(server, reader))
        lost = next(topic for topic in reader.topics() if topic.startswith("chunk/"))
        one.publish(f"edgefleet/v1/demo/{lost}", b"", retain=True)
        eventually("it is lost", lambda: lost not in reader.topics())
        one.need(lost.removeprefix("chunk/"), "f" * 64)
        eventually("it is back", lambda: lost in reader.topics())
        assert server.counters.get("needs_unknown") == 1


def test_a_variant_that_no_plan_picks_is_sent_when_it_is_asked_for(
    broker: BrokerProcess, make_server: MakeServer, repo: FakeRepository
) -> None:
    with make_server(broker.port) as server, ScriptedDevice(broker.port, "one", "eu-west") as one:
        eventually("known", lambda: known(server))
        roll_out(server)
        release, _ = server.repository.manifest(repo.ref("fashion/1"))
        other = release.variant("int8")
        assert other is not None
        own = {chunk.sha256 for chunk in release.file(other.files[0]).chunks}
        reader = Reader(broker.port)
        eventually("published", lambda: published(server, reader))
        missing = {name for name in own if f"chunk/{name}" not in reader.topics()}
        assert missing, "the two variants differ"
        one.need(*missing)
        eventually("they came", lambda: not {f"chunk/{name}" for name in missing} - reader.topics().keys())


def test_a_need_that_names_nonsense_gets_the_rest_of_what_it_asks_for(
    broker: BrokerProcess, make_server: MakeServer
) -> None:
    with make_server(broker.port) as server, ScriptedDevice(broker.port, "one", "eu-west") as one:
        eventually("known", lambda: known(server))
        roll_out(server)
        reader = Reader(broker.port)
        eventually("published", lambda: published(server, reader))
        need = Need(device="one", metadata=("../../etc/+/#", "timestamp.json"))
        one.publish("edgefleet/v1/demo/device/one/need", encode(need))
        eventually("the rest was sent", lambda: server.counters.get("needs_answered") == 1)
        assert server.counters.get("needs_unknown") == 1


def test_needs_beyond_what_can_wait_are_dropped_and_counted(make_server: MakeServer) -> None:
    server = make_server(1)
    for _ in range(NEEDS_WAITING + 5):
        server.publisher.need(Need(device="one", chunks=("f" * 64,)))
    assert server.counters.get("needs_dropped") == 5
    server.database.close()


def test_hostile_messages_change_nothing_but_counters(broker: BrokerProcess, make_server: MakeServer) -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    deep = b"[" * 50_000
    with make_server(broker.port) as server, ScriptedDevice(broker.port, "one", "eu-west") as one:
        eventually("known", lambda: known(server))
        roll_out(server)
        before = facts(server)
        hostile = [b"", b"\xff\xfe", b"null", b"{}", b'{"format":1}', b'{"format":99}', deep, bomb, b"x" * 200_000]
        other = encode(Presence(device="two", session=9, online=True))
        count = 0
        for kind in ("state", "presence", "event", "need", "reply"):
            for payload in (*hostile, other):
                one.publish(f"edgefleet/v1/demo/device/one/{kind}", payload)
                count += kind != "reply"
        for payload in (*hostile, zlib.compress(deep), zlib.compress(b'{"format":1,"device":"two","windows":[]}')):
            one.publish("edgefleet/v1/demo/telemetry/one", payload)
            count += 1
        for name in ("UPPER", "-", "x" * 65):
            one.publish(f"edgefleet/v1/demo/device/{name}/state", b"{}")
            count += 1
        eventually("all were counted", lambda: refused(server) >= count)
        assert facts(server) == before
        one.event("activated", "and the server still listens")
        eventually("it listens", lambda: len(server.views.events()) == 1)
        assert not [name for name in server.counters.snapshot() if name.endswith("_faults")]


def facts(server: Server) -> str:
    rows = server.views.devices()
    for row in rows:
        row.pop("last_seen_s")
    return json.dumps([rows, server.views.events(), server.views.releases()])


def refused(server: Server) -> int:
    return sum(n for name, n in server.counters.snapshot().items() if name.endswith("_refused"))


def test_a_fault_of_ours_does_not_end_ingest(broker: BrokerProcess, make_server: MakeServer) -> None:
    server = make_server(broker.port)

    def fault(need: Need) -> None:
        raise RuntimeError("nobody thought of this")

    router = Router(
        server.broker,
        server.topics,
        server.database,
        server.clock,
        server.counters,
        on_change=lambda: None,
        on_need=fault,
    )
    server.broker.start()
    router.start()
    try:
        with ScriptedDevice(broker.port, "one", "eu-west") as one:
            one.need("f" * 64)
            eventually("it was seen", lambda: server.counters.get("ingest_faults") == 1)
            one.event("activated", "and the server still listens")
            eventually("it listens", lambda: len(server.views.events()) == 1)
    finally:
        router.stop()
        server.broker.stop()
        server.database.close()


def test_a_message_that_the_database_will_never_take_holds_up_no_other(make_server: MakeServer) -> None:
    server = make_server(1)
    with server.database.write() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER never BEFORE INSERT ON events WHEN NEW.kind = 'poison' BEGIN SELECT RAISE(ABORT, 'never'); END"
        )
    kinds = ("before", "poison", "after")
    batch = [
        Incoming(
            topic="edgefleet/v1/demo/device/one/event",
            payload=encode(Event(device="one", boot="b", number=number, at_s=0.0, kind=kind, text="x")),
            retained=False,
            session=1,
            mid=number,
            qos=1,
        )
        for number, kind in enumerate(kinds)
    ]
    server.router.handle(batch)
    assert {row["kind"] for row in server.views.events()} == {"before", "after"}
    assert server.counters.get("event_faults") == 1
    server.database.close()


def test_what_comes_twice_counts_once(broker: BrokerProcess, make_server: MakeServer) -> None:
    with make_server(broker.port) as server, ScriptedDevice(broker.port, "one", "eu-west") as one:
        eventually("known", lambda: known(server))
        roll_out(server)
        for _ in range(3):
            one.event("activated", "once", number=5)
            one.telemetry(0.010, 0.012, 0.030)
        eventually("all came", lambda: server.counters.get("windows_repeated") == 2)
        eventually("all came", lambda: server.counters.get("events_repeated") == 2)
        assert len(server.views.events()) == 1
        curve = server.views.latency("one", last_s=3600, model=None)["models"][0]
        assert curve["requests"] == 3
        assert server.views.device("one")["power_source"] == "mains"


def test_a_will_of_an_old_connection_does_not_take_a_device_offline(
    broker: BrokerProcess, make_server: MakeServer
) -> None:
    with make_server(broker.port) as server, ScriptedDevice(broker.port, "one", "eu-west", session=7) as one:
        eventually("online", lambda: any(row["online"] for row in server.views.devices()))
        late = encode(Presence(device="one", session=6, online=False))
        one.publish("edgefleet/v1/demo/device/one/presence", late, retain=True)
        eventually("it was seen to be late", lambda: server.counters.get("presence_stale") == 1)
        assert server.views.device("one")["online"]


def test_events_said_while_the_server_is_away_wait_for_it(broker: BrokerProcess, make_server: MakeServer) -> None:
    with make_server(broker.port) as server:
        eventually("connected", lambda: server.broker.session is not None)
    with ScriptedDevice(broker.port, "one", "eu-west") as one:
        for number in range(300):
            one.event("activated", f"number {number}")
    event = Event(device="one", boot="b", number=1, at_s=0.0, kind="activated", text="x")
    assert len(encode(event)) < 60_000
    with make_server(broker.port) as server:
        eventually("all came", lambda: len(server.views.events(limit=1000)) == 300)


def test_a_device_that_claims_an_absurd_number_can_still_be_assigned(make_server: MakeServer) -> None:
    server = make_server(1)
    state = DeviceState(device="one", session=1, boot="b", at_s=1.0, agent_version="1", assignment_number=2**53)

    def say(**changes: int) -> None:
        payload = encode(replace(state, **changes))
        topic = "edgefleet/v1/demo/device/one/state"
        server.router.handle([Incoming(topic=topic, payload=payload, retained=False, session=1, mid=1, qos=1)])

    say()
    assert "assignment 9007199254740992" in server.counters.reasons()["state_refused"]
    say(assignment_number=7)
    assert server.controller.assign("one", "eu-west", (), "a test").number == 8
    say(assignment_number=2**53)
    assert server.controller.assign("one", "eu-west", (), "a test").number == 9
    assert server.counters.get("state_refused") == 2
    server.database.close()


def test_what_was_being_sent_when_the_server_died_is_cleared_and_nothing_is_seeded_again(
    tmp_path: Path, make_server: MakeServer
) -> None:
    orphan = "edgefleet/v1/demo/chunk/" + "f" * 64
    with (
        BrokerProcess(tmp_path / "broker") as broker,
        ScriptedDevice(broker.port, "one", "eu-west") as one,
    ):
        reader = Reader(broker.port)
        with make_server(broker.port) as server:
            eventually("known", lambda: known(server))
            roll_out(server)
            eventually("settled", lambda: settled_all(server, reader))
        server = make_server(broker.port)
        with server.database.write() as connection:  # announced and sent, and then the power went
            retained.put(connection, {orphan: ("", 0)})
        one.publish(orphan, b"half a release", retain=True)
        with server:
            eventually("it is gone", lambda: orphan.removeprefix("edgefleet/v1/demo/") not in reader.topics())
            eventually("settled", lambda: settled_all(server, reader))
            assert server.counters.get("reseeded") == 0
            assert server.counters.get("published") == 0


def test_the_note_is_asked_for_before_the_fleet_says_what_it_is(broker: BrokerProcess, make_server: MakeServer) -> None:
    one = paho.Client(CallbackAPIVersion.VERSION2, client_id="many")
    one.max_queued_messages_set(0)
    one.connect("127.0.0.1", broker.port)
    one.loop_start()
    one.publish("edgefleet/v1/demo/server/retained", b"the note", qos=1, retain=True)
    for number in range(500):
        last = one.publish(f"edgefleet/v1/demo/device/d{number}/state", b"x" * 20_000, qos=1, retain=True)
    last.wait_for_publish(60)
    one.disconnect()
    one.loop_stop()
    server = make_server(broker.port)
    server.broker.start()
    eventually("connected", lambda: server.broker.session is not None)
    assert server.broker.retained("edgefleet/v1/demo/server/retained", 20) == b"the note"
    server.broker.stop()
    server.database.close()
