"""What the server retains stays as it put it, also where anybody may write over it."""

from pathlib import Path

from edgefleet_protocol.topics import Topics
from edgefleet_server.publish.seen import Seen
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.intruder import Intruder
from tests.fakes.scripted_device import ScriptedDevice, eventually
from tests.server.conftest import MakeServer

TOPICS = Topics("demo")


def test_what_an_intruder_writes_over_the_servers_topics_is_put_right(
    broker: BrokerProcess, make_server: MakeServer
) -> None:
    with (
        make_server(broker.port) as server,
        ScriptedDevice(broker.port, "one", "eu-west"),
        Intruder(broker.port) as intruder,
    ):
        eventually("known", lambda: any(row["id"] == "one" for row in server.views.devices()))
        server.controller.assign("one", "eu-west", (), "test")
        own = {TOPICS.trust("timestamp.json"), TOPICS.trust("head"), TOPICS.of_device("one", "assignment")}

        def held() -> dict[str, bytes]:
            return {
                topic: payload
                for topic, payload in intruder.retained(TOPICS.prefix).items()
                if "/trust/" in topic or "/assignment" in topic
            }

        eventually("published", lambda: own <= held().keys())
        right = held()
        for topic in own:
            intruder.put(topic, b"forged")
        intruder.put(TOPICS.trust("1.root.json"), b"")
        intruder.put(TOPICS.trust("99.root.json"), b"never was")
        intruder.put(TOPICS.of_device("nobody", "assignment"), b"never was")
        eventually("as it was", lambda: held() == right)
        assert server.counters.get("healed") >= 5


def test_an_echo_is_no_news_and_a_forgery_is_told_once_in_a_second() -> None:
    seen = Seen()
    seen.sent("t", b"new")
    assert not seen.came("t", b"new")
    assert seen.came("t", b"forged")
    right = {"t": "digest of new"}
    assert seen.wrong(right, 10.0) == ["t"]
    assert seen.came("t", b"forged")
    assert seen.wrong(right, 10.5) == [], "too soon"
    assert seen.wrong(right, 11.5) == ["t"]
    assert seen.wrong(right, 13.0) == []


def test_an_echo_that_came_late_is_forgotten_once_the_newer_one_came() -> None:
    seen = Seen()
    seen.sent("t", b"second")
    assert seen.came("t", b"first")
    assert not seen.came("t", b"second")
    assert seen.wrong({"t": "x"}, 1.0) == []


def test_made_up_topics_without_end_cost_no_memory_without_end(tmp_path: Path) -> None:
    seen = Seen()
    for number in range(10_100):
        seen.came(f"t/{number}", b"x")
    assert len(seen.wrong({}, 1.0)) == 10_000
