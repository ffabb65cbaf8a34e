"""The link through a real Mosquitto: what is queued arrives, sessions count up, wills carry their number."""

import os
import pwd
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgefleet_agent.link import mqtt
from edgefleet_agent.link.mqtt import MqttLink
from edgefleet_agent.link.reconnect import delay_s
from edgefleet_agent.seams import Message
from tests.fakes.authority import Authority

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Broker:
    """A Mosquitto that can be killed and started again at the same port."""

    def __init__(self, folder: Path, more: str = "") -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n{more}")
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


def test_a_link_goes_over_to_another_certificate_without_a_last_will_and_keeps_what_is_queued(tmp_path: Path) -> None:
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    server, first, second = (authority.issue(tmp_path, name) for name in ("localhost", "first", "second"))
    broker = Broker(
        tmp_path,
        f"cafile {tmp_path}/ca.pem\ncertfile {server[0]}\nkeyfile {server[1]}\nrequire_certificate true\n"
        # Started by root it would become the user `mosquitto`, who cannot read here.
        f"user {pwd.getpwuid(os.getuid()).pw_name}\nuse_identity_as_username true\nlog_type all\nlog_dest file {tmp_path}/broker.log\n",
    )

    def link(pair: tuple[Path, Path]) -> MqttLink:
        return MqttLink(
            "one", "localhost", broker.port, ca=tmp_path / "ca.pem", certificate=pair[0], key=pair[1], dice=lambda: 0.1
        )

    one = start(link(first), 5, topic="will/one")
    watcher = MqttLink(
        "w", "localhost", broker.port, ca=tmp_path / "ca.pem", certificate=first[0], key=first[1], dice=lambda: 0.1
    )
    start(watcher, 1).subscribe(["will/one", "a/b"], qos=1)
    with pytest.raises(ssl.SSLError):
        one.use_certificate(second[0], first[1])
    assert one.connected_session() == 5, "a pair that does not belong together changes nothing"
    one.use_certificate(*second)
    one.publish("a/b", b"by the new one")
    until(lambda: one.connected_session() == 6)
    came: list[Message] = []
    more = collect(watcher, came)
    until(lambda: more())
    assert came == [Message("a/b", b"by the new one")]
    assert "u'second'" in (tmp_path / "broker.log").read_text()
    one.stop()
    watcher.stop()
    broker.kill()


def test_a_link_without_tls_says_that_it_has_no_certificate(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without TLS"):
        MqttLink("one", "127.0.0.1", 1).use_certificate(tmp_path, tmp_path)


def test_s16_a_queue_that_the_broker_cut_short_costs_nothing_for_the_newest_is_retained(tmp_path: Path) -> None:
    broker = Broker(tmp_path, "max_queued_messages 5\n")
    device, hub = start(broker.link("device"), 1), start(broker.link("hub"), 1)
    device.subscribe(["trust/timestamp.json"], qos=1)
    time.sleep(0.1)
    device.stop()  # its session stays at the broker
    taken: set[int] = set()
    for number in range(50):
        last = hub.publish("trust/timestamp.json", b"%d" % number, retain=True)
    until(lambda: last in taken_by(taken, hub.acknowledged()))
    back = broker.link("device")
    start(back, 2).subscribe(["trust/timestamp.json"], qos=1)
    came: list[Message] = []
    more = collect(back, came)
    until(lambda: more() and came[-1].payload == b"49")
    assert len(came) < 50, "the queue was cut short, or this shows nothing"
    back.stop()
    hub.stop()
    broker.kill()


def test_messages_that_nobody_takes_fill_no_memory_however_small_they_are_and_are_counted(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "BACK_PRESSURE_S", 0.0)
    monkeypatch.setattr(mqtt, "MAX_QUEUED_BYTES", 100 * mqtt.MESSAGE_BYTES)
    link, flood = start(broker.link("one"), 1), start(broker.link("two"), 1)
    link.subscribe(["x"])
    time.sleep(0.1)
    for _ in range(500):
        flood.publish("x", b"", qos=0)
    until(lambda: link.dropped + len(link._inbox) == 500)
    assert len(link._inbox) < 100
    assert link.standing().dropped == link.dropped > 400
    assert "messages dropped" in link.standing().words(time.monotonic())
    link.stop()
    flood.stop()


def test_s15_a_device_that_is_back_before_its_loss_was_noticed_is_never_offline_afterwards(broker: Broker) -> None:
    """The old connection is still there for the broker when the device comes back: nobody told it of the loss."""
    old = paho.Client(CallbackAPIVersion.VERSION2, client_id="device", clean_session=False, reconnect_on_failure=False)
    old.will_set("presence", b"gone 5", qos=1, retain=True)
    old.connect("127.0.0.1", broker.port)
    old.loop_start()
    old.publish("presence", b"here 5", qos=1, retain=True).wait_for_publish(30)
    watcher = start(broker.link("watcher"), 1)
    watcher.subscribe(["presence"], qos=1)
    came: list[Message] = []
    more = collect(watcher, came)
    until(lambda: more())
    back = start(broker.link("device"), 6, topic="presence")
    back.publish("presence", b"here 6", retain=True)
    until(lambda: more()[-1].payload == b"here 6")
    # Mosquitto tells of no death when a session is taken over; a broker that does tells it before the birth.
    assert [message.payload for message in came if message.payload != b"gone 5"] == [b"here 5", b"here 6"]
    late = start(broker.link("late"), 1)
    late.subscribe(["presence"])
    seen: list[Message] = []
    until(collect(late, seen))
    assert seen == [Message("presence", b"here 6")]
    for link in (back, watcher, late):
        link.stop()
    old.loop_stop()


def test_s13_two_devices_under_one_name_take_the_connection_from_each_other_ever_more_seldom(broker: Broker) -> None:
    """As two copies of one memory card do. What ends so soon counts as a failed try, on both sides, so both wait longer."""
    first, second = (MqttLink("device", "127.0.0.1", broker.port, dice=lambda: 0.02) for _ in range(2))
    start(first, 1)
    second.start(1, "will/x", lambda session: b"gone")
    until(lambda: min(first._failures, second._failures) >= 4)
    for link in (first, second):
        assert delay_s(link._failures, 0.99) > 15.0, "the next try may be many seconds away"
    second.stop()
    until(lambda: first.connected_session() is not None)  # and when the other one is gone, it stays
    first.stop()
