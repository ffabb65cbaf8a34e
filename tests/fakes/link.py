"""A broker with retained topics, and links of devices to it. Delivers at once, in order, and never on its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgefleet_agent.seams import Message


@dataclass
class FakeBroker:
    """Retained messages, and who is connected. Exact topics only: a device uses no wildcard."""

    retained: dict[str, bytes] = field(default_factory=dict)
    links: list["FakeLink"] = field(default_factory=list)
    log: list[Message] = field(default_factory=list)
    """Everything that devices published, in order."""
    delivered: dict[str, int] = field(default_factory=dict)
    """How often each topic went to a device."""
    reachable: bool = True

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        """Send to whoever subscribed; an empty retained message removes the topic."""
        if retain:
            if payload:
                self.retained[topic] = payload
            else:
                self.retained.pop(topic, None)
        for link in self.links:
            if topic in link.topics:
                self.deliver(link, topic, payload)

    def deliver(self, link: "FakeLink", topic: str, payload: bytes) -> None:
        """Hand one message to one device."""
        self.delivered[topic] = self.delivered.get(topic, 0) + 1
        link.inbox.append(Message(topic, payload))

    def copy(self) -> "FakeBroker":
        """Return a broker with the same retained topics and nobody connected."""
        return FakeBroker(retained=dict(self.retained), log=list(self.log))

    def lose_everything(self) -> None:
        """Restart without persistence: retained topics and sessions are gone."""
        self.retained.clear()
        self.cut(keep_sessions=False)

    def cut(self, keep_sessions: bool = True) -> None:
        """Drop every connection; the last wills are published."""
        for link in list(self.links):
            link.drop(keep_sessions)

    def payloads(self, suffix: str) -> list[bytes]:
        """Return what devices published on topics that end so."""
        return [message.payload for message in self.log if message.topic.endswith(suffix)]


class FakeLink:
    """One device's connection. It comes back at the next `receive` after a cut, as soon as the broker is reachable."""

    def __init__(self, broker: FakeBroker) -> None:
        self.broker = broker
        self.topics: set[str] = set()
        self.inbox: list[Message] = []
        self.acks: set[int] = set()
        self.subscribed: list[str] = []
        self._session: int | None = None
        self._next = 0
        self._number = 0
        self._will: tuple[str, Callable[[int], bytes]] | None = None
        self._queue: list[tuple[int, str, bytes, bool]] = []

    def start(self, first_session: int, will_topic: str, will: Callable[[int], bytes]) -> None:
        self._next, self._will = first_session, (will_topic, will)
        self._connect()

    def _connect(self) -> None:
        if self._session is None and self._will is not None and self.broker.reachable:
            self._session = self._next
            self._next += 1
            self.broker.links.append(self)
            queued, self._queue = self._queue, []
            for number, topic, payload, retain in queued:
                self._send(number, topic, payload, retain)

    def drop(self, keep_session: bool) -> None:
        """Lose the connection; the broker publishes the will."""
        self.broker.links.remove(self)
        if self._will is not None and self._session is not None:
            self.broker.publish(self._will[0], self._will[1](self._session), retain=True)
        if not keep_session:
            self.topics.clear()
            self.inbox.clear()
        self._session = None

    def connected_session(self) -> int | None:
        self._connect()
        return self._session

    def subscribe(self, topics: Sequence[str], qos: int = 0) -> None:
        for topic in topics:
            self.subscribed.append(topic)
            self.topics.add(topic)
            if topic in self.broker.retained and self._session is not None:
                self.broker.deliver(self, topic, self.broker.retained[topic])

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.topics -= set(topics)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> int:
        self._number += 1
        if self._session is None:
            self._queue.append((self._number, topic, payload, retain))
        else:
            self._send(self._number, topic, payload, retain)
        return self._number

    def _send(self, number: int, topic: str, payload: bytes, retain: bool) -> None:
        self.broker.log.append(Message(topic, payload))
        self.broker.publish(topic, payload, retain)
        self.acks.add(number)

    def acknowledged(self) -> set[int]:
        acks, self.acks = self.acks, set()
        return acks

    def receive(self) -> list[Message]:
        inbox, self.inbox = self.inbox, []
        return inbox

    def wait(self, timeout_s: float) -> None:
        """Only a real link sleeps."""

    def stop(self) -> None:
        if self in self.broker.links:
            self.broker.links.remove(self)
        self._session = None
