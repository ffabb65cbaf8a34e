"""The hub's connection to the broker.

The session is persistent and messages are acknowledged only once they are dealt with, so what devices publish with
QoS 1 while the hub is away or dies waits at the broker. What comes in waits in an inbox that has an end. Beyond it of a state the
newest is kept; all else is let go of without being acknowledged, and once the inbox is empty the hub connects anew: then the broker
sends again what was not. Only what was sent with QoS 0, which nobody promised to deliver, is dropped and counted.
"""

import contextlib
import logging
import queue
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from .client import Client
from .inbox import Inbox, Incoming
from .tls import Tls

LOG = logging.getLogger(__name__)

KEEPALIVE_S = 60
BACKOFF_CAP_S = 30.0
"""Reconnects wait a random time up to 0.5, 1, 2 … 30 seconds: after a broker's restart not all come at once."""
TOPICS_PER_SUBSCRIBE = 8
"""AWS IoT Core takes no more in one packet."""
MAX_INFLIGHT = 100
SESSION_KEPT_S = 14 * 86400
"""With MQTT 5 a client says how long the broker keeps its queue; with 3.1.1 the broker's own configuration alone does."""


class Broker:
    """One connection, kept up. `session` counts connections: a new number means that the broker may have forgotten."""

    def __init__(
        self,
        host: str,
        port: int,
        client_id: str,
        filters: Sequence[str],
        *,
        keep: Sequence[str] = (),
        first: str | None = None,
        inbox: Inbox | None = None,
        on_dropped: Callable[[str], None] = lambda topic: None,
        tls: Tls | None = None,
        why_not: Callable[[], str | None] = lambda: None,
        on_put_off: Callable[[], None] = lambda: None,
        leave: Sequence[str] = (),
        quiet: Sequence[str] = (),
        watch: Sequence[str] = (),
        on_seen: Callable[[str, bytes], None] = lambda topic, payload: None,
    ) -> None:
        """keep: those of `filters` whose newest message is never dropped. on_dropped: told each topic of QoS 0 that was.
        on_put_off: told of each message that was let go of, to be sent again. leave: filters of an earlier form, unsubscribed.

        quiet: those of `filters` for which the broker sends only what is said from now on, and not what it retains; see `read_retained`.
        That is an option of MQTT 5, which is spoken where there are any, and else 3.1.1.

        first: a topic whose retained message is asked for before anything else in each connection, see `retained`.
        why_not: asked before each connection why this broker must not be used; while it says why, or raises OSError because it
        cannot tell, none is made.
        watch: filters of topics that this server itself retains; on_seen is told, in the link's thread, what they hold.
        """
        self._tls, self._why_not = tls, why_not
        self._watch, self._on_seen = tuple(watch), on_seen
        self._asking = threading.Lock()
        self._answers: dict[str, queue.SimpleQueue[bytes]] = {}
        self.problem: str | None = None
        """Why this broker is not used, where it must not be."""
        self._first = first
        self._host, self._port = host, port
        self._filters, self._leave, self._quiet = tuple(filters), tuple(leave), frozenset(quiet)
        self._wanted = re.compile("|".join(f"({_pattern(unshared(row))})" for row in self._filters))
        """A group for each filter: asked for every message, so one look for all of them."""
        self._keep = [row in keep for row in self._filters]
        self._inbox = inbox or Inbox()
        self._on_dropped, self._on_put_off = on_dropped, on_put_off
        self._put_off = self._at_once = False
        self._received = 0
        self._unsubscribed: dict[int, threading.Event] = {}
        self._reading: dict[str, bool] = {}
        """What is asked for by `read_retained`, and whether it came."""
        self._state = threading.Condition()
        self._session = 0
        self._connected = False
        self._stopping = threading.Event()
        self._probes: dict[str, queue.SimpleQueue[bytes]] = {}
        self._client_id = client_id
        self._client = self._new_client()
        self._sent: list[paho.MQTTMessageInfo] = []
        self._thread = threading.Thread(target=self._keep_connected, name="broker", daemon=True)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect and end."""
        self._stopping.set()
        self._client.disconnect()
        self._inbox.close()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    @property
    def session(self) -> int | None:
        """The number of the connection that stands now, or None."""
        with self._state:
            return self._session if self._connected else None

    def wait_connected(self, timeout_s: float) -> bool:
        """Return whether there is a connection, after waiting for one for at most `timeout_s`."""
        with self._state:
            return self._state.wait_for(lambda: self._connected, timeout_s)

    def receive(self, timeout_s: float) -> Incoming | None:
        """Return the next message, or None when none came in time or the link was stopped."""
        message = self._inbox.get(timeout_s)
        if message is None and self._put_off and self._inbox.is_empty:
            self._put_off, self._at_once = False, True
            LOG.info("connecting anew, for the broker to send again what had no room")
            self._client.disconnect()
        return message

    @property
    def waiting(self) -> int:
        """How many messages came and were not read yet."""
        return self._inbox.waiting

    def done(self, messages: Iterable[Incoming]) -> None:
        """Tell the broker that these were dealt with. Numbers of an earlier connection mean nothing in this one."""
        with self._state:
            session, client = self._session if self._connected else None, self._client
        client.acknowledge([one.mid for one in messages if one.qos > 0 and one.session == session])

    @property
    def received(self) -> int:
        """How many messages came since the start, and had room."""
        return self._received

    def leave(self, timeout_s: float) -> bool:
        """Ask for nothing more; return whether the broker has answered. Whatever it had to send by then has come before the answer."""
        if self.session is None:
            return False
        return self._unsubscribe(list(self._filters), timeout_s)

    def read_retained(self, topics: Sequence[str], timeout_s: float) -> frozenset[str]:
        """Have the broker send what it retains of these topics, into the inbox; return those of which something came.

        It sends what it retains before it answers that they are unsubscribed, so no time has to be guessed. `topics` match `filters`.
        """
        if self.session is None or not topics:
            return frozenset()
        self._reading = dict.fromkeys(topics, False)
        client = self._client
        for at in range(0, len(topics), TOPICS_PER_SUBSCRIBE):
            client.subscribe([self._asked(topic, 0) for topic in topics[at : at + TOPICS_PER_SUBSCRIBE]])
        self._unsubscribe(list(topics), timeout_s)
        came, self._reading = self._reading, {}
        return frozenset(topic for topic, has in came.items() if has)

    def _unsubscribe(self, topics: list[str], timeout_s: float) -> bool:
        """Return whether the broker has answered; its answer comes after all that it had to send of them."""
        session, answered = self.session, []
        for at in range(0, len(topics), TOPICS_PER_SUBSCRIBE):
            with self._state:  # the answer must not be here before we wait for it
                event = threading.Event()
                _, mid = self._client.unsubscribe(topics[at : at + TOPICS_PER_SUBSCRIBE])
                if mid is None:
                    return False
                self._unsubscribed[mid] = event
            answered.append(event)
        deadline = time.monotonic() + timeout_s
        return all(event.wait(max(0.0, deadline - time.monotonic())) for event in answered) and self.session == session

    def _on_unsubscribe(self, client: paho.Client, userdata: Any, mid: int, codes: Any, properties: Any) -> None:
        with self._state:
            event = self._unsubscribed.pop(mid, None)
        if event is not None:
            event.set()

    def publish(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        """Send with QoS 1, in order; `flush` says when the broker has all of it. Without a connection it goes nowhere."""
        if self.session is not None:
            self._sent.append(self._client.publish(topic, payload, qos=1, retain=retain))

    @property
    def unflushed(self) -> int:
        """How many messages were published since the last `flush`."""
        return len(self._sent)

    def flush(self, session: int, timeout_s: float) -> bool:
        """Return whether the broker took everything published since the last call, all in the connection `session`."""
        sent, self._sent = self._sent, []
        deadline = time.monotonic() + timeout_s
        for info in sent:
            while not _published(info):
                if self.session != session or time.monotonic() > deadline:
                    return False
                with contextlib.suppress(RuntimeError, ValueError):
                    info.wait_for_publish(timeout=0.2)
        return self.session == session

    def retained(self, topic: str, timeout_s: float) -> bytes | None:
        """Return what the broker keeps for `topic`, or None when nothing came in time: MQTT has no "not found".

        The first call in a connection for the topic `first` takes the answer to the question that was asked before the
        hub subscribed to its fleet: behind the states of a hundred thousand devices it would come too late.
        """
        answer = self._probes.get(topic)
        try:
            if answer is None:
                answer = self._ask(self._client, topic)
            return answer.get(timeout=timeout_s)
        except queue.Empty:
            return None
        finally:
            self._client.unsubscribe(topic)
            self._probes.pop(topic, None)

    def ask(self, topic: str, answer_topic: str, payload: bytes, timeout_s: float) -> bytes | None:
        """Return the next message on `answer_topic` after `payload` was sent to `topic`, or None when none came in time.

        For questions to the broker itself, one at a time.
        """
        with self._asking:
            if self.session is None:
                return None
            answer: queue.SimpleQueue[bytes] = queue.SimpleQueue()
            self._answers[answer_topic] = answer
            try:
                self._client.subscribe(answer_topic, qos=0)
                self._client.publish(topic, payload, qos=1, retain=False)
                return answer.get(timeout=timeout_s)
            except queue.Empty:
                return None
            finally:
                self._answers.pop(answer_topic, None)
                self._client.unsubscribe(answer_topic)

    def _ask(self, client: paho.Client, topic: str) -> "queue.SimpleQueue[bytes]":
        answer: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._probes[topic] = answer
        # Unsubscribe first: some brokers send retained messages only for a subscription that is new to them.
        client.unsubscribe(topic)
        client.subscribe(topic, qos=0)
        return answer

    def _new_client(self) -> Client:
        """A client for one connection: paho would send an old one's messages again, after newer ones of the same topic."""
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if self._quiet else False,
            protocol=MQTTProtocolVersion.MQTTv5 if self._quiet else MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        client.max_inflight_messages_set(MAX_INFLIGHT)
        client.max_queued_messages_set(0)
        client.suppress_exceptions = True
        if self._tls is not None:
            self._tls.apply(client)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_unsubscribe = self._on_unsubscribe
        return client

    def _keep_connected(self) -> None:
        attempt = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._refuse_open()
                # The files of an identity may be new since the last connection.
                self._client = self._new_client()
                self._connect()
                self._client.loop_forever(retry_first_connection=False)
            except OSError as error:
                LOG.info("no broker at %s:%d: %s", self._host, self._port, error)
            self._lost()
            if self._at_once:  # we went, and the broker is well
                self._at_once = False
                continue
            attempt = 0 if time.monotonic() - began > BACKOFF_CAP_S else attempt + 1
            self._stopping.wait(random.uniform(0, min(BACKOFF_CAP_S, 0.25 * 2 ** min(attempt, 10))))

    def _connect(self) -> None:
        if not self._quiet:
            self._client.connect(self._host, self._port, keepalive=KEEPALIVE_S)
            return
        kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        kept.SessionExpiryInterval = SESSION_KEPT_S
        self._client.connect(self._host, self._port, keepalive=KEEPALIVE_S, clean_start=False, properties=kept)

    def _refuse_open(self) -> None:
        """Raise OSError while this broker must not be used; say so once."""
        before, self.problem = self.problem, None
        self.problem = self._why_not()
        if self.problem is not None:
            if self.problem != before:
                LOG.error("%s", self.problem)
            raise ConnectionRefusedError("it must not be used")

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            LOG.warning("the broker refused the hub: %s", reason)
            return
        if self._first is not None:
            self._ask(client, self._first)
        if self._leave:
            client.unsubscribe(list(self._leave))
        for at in range(0, len(self._filters), TOPICS_PER_SUBSCRIBE):
            client.subscribe([self._asked(topic, 1) for topic in self._filters[at : at + TOPICS_PER_SUBSCRIBE]])
        for at in range(0, len(self._watch), TOPICS_PER_SUBSCRIBE):
            client.subscribe([self._asked(topic, 0) for topic in self._watch[at : at + TOPICS_PER_SUBSCRIBE]])
        with self._state:
            self._session += 1
            self._connected = True
            self._state.notify_all()
        LOG.info("connected to the broker at %s:%d (connection %d)", self._host, self._port, self._session)

    def _asked(self, topic: str, qos: int) -> Any:
        """Return one topic of a SUBSCRIBE, as paho takes it for the protocol that is spoken."""
        if not self._quiet:
            return topic, qos
        how = SubscribeOptions.RETAIN_DO_NOT_SEND if topic in self._quiet else SubscribeOptions.RETAIN_SEND_ON_SUBSCRIBE
        return topic, SubscribeOptions(qos=qos, retainHandling=how)

    def _on_disconnect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._lost()  # paho may call this twice for one loss

    def _lost(self) -> None:
        with self._state:
            self._connected = False
            self._state.notify_all()
            unanswered, self._unsubscribed = self._unsubscribed, {}
        for event in unanswered.values():  # nobody will answer in this connection
            event.set()

    def _kept(self, topic: str) -> bool | None:
        """Return whether of the topic the newest message is kept; None when nobody here asked for it."""
        found = self._wanted.fullmatch(topic)
        return None if found is None or found.lastindex is None else self._keep[found.lastindex - 1]

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a topic that is no UTF-8 is nobody's
            client.ack(message.mid, message.qos)
            return
        answer = self._answers.get(topic)
        if answer is not None:
            answer.put(bytes(message.payload))
            return
        if any(paho.topic_matches_sub(row, topic) for row in self._watch):
            self._on_seen(topic, bytes(message.payload))
            return
        if topic in self._reading and message.retain:
            self._reading[topic] = True
        probe = self._probes.get(topic)
        if probe is not None and message.retain:
            probe.put(bytes(message.payload))
        keep = None if topic in self._probes else self._kept(topic)
        if keep is None:
            if message.qos:
                client.ack(message.mid, message.qos)
            return
        incoming = Incoming(topic, bytes(message.payload), message.retain, self._session, message.mid, message.qos)
        lost = self._inbox.put(incoming, keep=keep)
        if lost is not incoming:
            self._received += 1
        if lost is None:
            return
        if lost is not incoming:  # an older one of its topic, which the new one makes void
            if lost.qos and lost.session == self._session:
                client.ack(lost.mid, lost.qos)
        elif lost.qos:
            self._put_off = True
            self._on_put_off()
        else:
            self._on_dropped(topic)


def _pattern(topic_filter: str) -> str:
    """Return an MQTT filter as a regular expression."""
    return re.escape(topic_filter).replace(r"\+", "[^/]*").replace(r"\#", ".*").replace("/.*", "(?:/.*)?")


def shared(group: str, topic_filter: str) -> str:
    """Return the filter by which several clients share what comes: each message goes to one of them."""
    return f"$share/{group}/{topic_filter}"


def unshared(topic_filter: str) -> str:
    """Return the filter that topics match, with or without a group before it."""
    return topic_filter.split("/", 2)[2] if topic_filter.startswith("$share/") else topic_filter


def _published(info: paho.MQTTMessageInfo) -> bool:
    try:
        return info.is_published()
    except (RuntimeError, ValueError):  # it was never sent
        return False
