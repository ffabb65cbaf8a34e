"""The link through a real Mosquitto: what is queued arrives, sessions count up, wills carry their number."""

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgefleet_agent.link.mqtt import MqttLink
from edgefleet_agent.seams import Message

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Broker:
    """A Mosquitto that can be killed and started again at the same port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([MOSQUITTO, "-c", str(self.config)], stderr=subprocess.DEVNULL)
        until(lambda: self._listens())

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def link(self, name: str) -> MqttLink:
        return MqttLink(name, "127.0.0.1", self.port, dice=lambda: 0.1)


def taken_by(so_far: set[int], more: set[int]) -> set[int]:
    """Return all numbers that were acknowledged so far."""
    so_far |= more
    return so_far


def until(holds: Callable[[], object], patience_s: float = 60.0) -> None:
    """Wait until something holds. The patience only ends a test that hangs."""
    end = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    yield running
    running.kill()


def start(link: MqttLink, first: int, topic: str = "will/x") -> MqttLink:
    link.start(first, topic, lambda session: b"gone %d" % session)
    until(lambda: link.connected_session() is not None)
    return link


def collect(link: MqttLink, into: list[Message]) -> Callable[[], list[Message]]:
    def more() -> list[Message]:
        into.extend(link.receive())
        return into

    return more


def test_a_message_goes_through_and_is_acknowledged(broker: Broker) -> None:
    one, two = start(broker.link("one"), 1), start(broker.link("two"), 1)
    two.subscribe(["a/b"], qos=1)
    time.sleep(0.1)
    number = one.publish("a/b", b"hello")
    taken: set[int] = set()
    until(lambda: number in taken_by(taken, one.acknowledged()))
    came: list[Message] = []
    more = collect(two, came)
    until(lambda: more())
    assert came == [Message("a/b", b"hello")]
    one.stop()
    two.stop()


def test_a_retained_message_comes_for_each_subscription_and_many_topics_go_out_in_parts(broker: Broker) -> None:
    link = start(broker.link("one"), 1)
    topics = [f"chunk/{number}" for number in range(40)]
    for topic in topics:
        link.publish(topic, topic.encode(), retain=True)
    came: list[Message] = []
    more = collect(link, came)
    link.subscribe(topics)
    until(lambda: len(more()) == 40)
    link.unsubscribe(topics)
    link.subscribe(topics[:1])
    until(lambda: len(more()) == 41)
    link.stop()


def test_after_the_broker_was_killed_the_session_counts_up_and_what_was_queued_arrives(broker: Broker) -> None:
    link = start(broker.link("one"), 7_000_000)
    assert link.connected_session() == 7_000_000
    broker.kill()
    until(lambda: link.connected_session() is None)
    number = link.publish("a/state", b"queued", retain=True)
    broker.start()
    until(lambda: link.connected_session() == 7_000_001)
    taken: set[int] = set()
    until(lambda: number in taken_by(taken, link.acknowledged()))
    other = start(broker.link("two"), 1)
    other.subscribe(["a/state"])
    came: list[Message] = []
    more = collect(other, came)
    until(lambda: more())
    assert came[0].payload == b"queued"
    link.stop()
    other.stop()


def test_the_will_is_retained_and_carries_the_number_of_the_session_that_was_lost(broker: Broker) -> None:
    link = start(broker.link("one"), 5, topic="will/one")
    watcher = start(broker.link("two"), 1)
    watcher.subscribe(["will/one"])
    connection = link._client.socket()
    assert isinstance(connection, socket.socket)
    connection.shutdown(socket.SHUT_RDWR)
    came: list[Message] = []
    more = collect(watcher, came)
    until(lambda: more())
    assert came[0].payload == b"gone 5"
    until(lambda: link.connected_session() == 6)
    link.stop()
    watcher.stop()


def test_waiting_ends_when_something_comes_and_when_it_is_told_to(broker: Broker) -> None:
    link = start(broker.link("one"), 1)
    link.receive()
    link.subscribe(["x"])
    link.publish("x", b"1")
    link.wait(60)
    link.receive()
    link.wake()
    link.wait(60)
    link.stop()
