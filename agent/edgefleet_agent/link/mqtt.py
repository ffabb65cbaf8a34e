"""The broker, through paho-mqtt (tried with 2.2.0). Of the agent, only this file and `home` import it.

MQTT 3.1.1 with a persistent session, so that commands and assignments wait for a device that is away. paho's network
thread only moves bytes: what came is queued here, in order, until the agent's next turn takes it.
"""

import random
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from ..log import LOG
from ..seams import Message
from .reconnect import delay_s, failures_after
from .standing import Standing
from .tls import client_context

TOPICS_PER_SUBSCRIBE = 8
"""AWS allows no more in one packet."""
MAX_PAYLOAD_BYTES = 1_100_000
"""The largest document that the protocol knows, and some room. More is dropped unread."""
MAX_QUEUED_BYTES = 8_000_000
"""What may wait for the next turn; beyond it the network thread waits, and so does the broker."""
BACK_PRESSURE_S = 20.0
"""How long the network thread waits for a turn before it drops a message: well below the keepalive."""
MESSAGE_BYTES = 400
"""What a message takes beside its topic and payload: a flood of empty ones fills the memory as well."""
MAX_QUEUED_MESSAGES = 1000
GOODBYE_S = 3.0


class MqttLink:
    """Implements `seams.Link`."""

    def __init__(
        self,
        client_id: str,
        host: str,
        port: int,
        *,
        keepalive_s: int = 60,
        ca: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        dice: Callable[[], float] = random.random,
    ) -> None:
        """keepalive_s: at least 60, or a slow link that is full of chunks is taken for dead. ca: TLS with this authority."""
        self._address, self._keepalive_s, self._dice = (host, port), max(60, keepalive_s), dice
        self._lock = threading.Condition()
        self._inbox: deque[Message] = deque()
        self._inbox_bytes = 0
        self._changed = False
        self._session: int | None = None
        self._standing = Standing(broker=f"{host}:{port}", connected=False, since=time.monotonic())
        self._next = 0
        self._failures = 0
        self._renewing = False
        """The connection is being ended by `use_certificate`; nobody need be told."""
        self._numbers: dict[int, int] = {}
        self._early: set[int] = set()
        """Message ids that the broker acknowledged before `publish` had returned them."""
        self._acknowledged: set[int] = set()
        self._published = 0
        self._stopping = False
        self.dropped = 0
        """Messages that were too large, or came while nobody took them."""
        self._will: tuple[str, Callable[[int], bytes]] | None = None
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False, protocol=paho.MQTTv311
        )
        self._tls: ssl.SSLContext | None = None
        if ca is not None:
            self._tls = client_context(ca, certificate, key)
            self._client.tls_set_context(self._tls)
        self._client.suppress_exceptions = True
        self._client.connect_timeout = 10.0
        self._client.max_queued_messages_set(MAX_QUEUED_MESSAGES)
        self._client.max_inflight_messages_set(40)
        self._client.on_pre_connect = self._on_pre_connect
        self._client.on_connect = self._on_connect
        self._client.on_connect_fail = self._on_connect_fail
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.on_publish = self._on_publish

    # --- the agent's side

    def start(self, first_session: int, will_topic: str, will: Callable[[int], bytes]) -> None:
        """Connect, and stay connected."""
        self._next, self._will = first_session, (will_topic, will)
        self._set_delay()
        self._begin()

    def _begin(self) -> None:
        self._client.connect_async(*self._address, keepalive=self._keepalive_s)
        self._client.loop_start()

    def use_certificate(self, certificate: Path, key: Path) -> None:
        """Connect anew with another pair, and by it from now on; what is queued goes out then.

        Raises OSError or ssl.SSLError, with nothing changed, for a pair that cannot be read or does not belong together.
        """
        if self._tls is None:
            raise ValueError("a connection without TLS has no certificate: name an authority with ca")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key)
        with self._lock:
            self._renewing = True
            self._lock.notify_all()
        self._client.disconnect()  # with a goodbye, so that no last will is sent
        self._client.loop_stop()
        self._tls.load_cert_chain(certificate, key)
        with self._lock:
            self._renewing, self._failures = False, 0
        self._set_delay()
        self._begin()

    def connected_session(self) -> int | None:
        """The number of this connection; None while there is none."""
        with self._lock:
            return self._session

    def standing(self) -> Standing:
        """How it stands with the broker, and since when."""
        with self._lock:
            return self._standing

    def subscribe(self, topics: Sequence[str], qos: int = 0) -> None:
        """Ask for topics, a few to a packet. Without a connection nothing is asked: a new session asks anew."""
        for at in range(0, len(topics), TOPICS_PER_SUBSCRIBE):
            self._client.subscribe([(topic, qos) for topic in topics[at : at + TOPICS_PER_SUBSCRIBE]])

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """No longer ask for topics."""
        for at in range(0, len(topics), TOPICS_PER_SUBSCRIBE):
            self._client.unsubscribe(list(topics[at : at + TOPICS_PER_SUBSCRIBE]))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> int:
        """Send, or queue until there is a connection; return the number that `acknowledged` yields.

        A message that does not fit into the queue is never acknowledged, so its sender sends it again.
        """
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        with self._lock:
            self._published += 1
            number = self._published
            if qos == 0 or info.mid in self._early:
                self._early.discard(info.mid)
                self._acknowledged.add(number)
            elif info.rc != MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
                self._numbers[info.mid] = number
            return number

    def acknowledged(self) -> set[int]:
        """Numbers of messages that the broker has taken since the last call."""
        with self._lock:
            taken, self._acknowledged = self._acknowledged, set()
            return taken

    def receive(self) -> list[Message]:
        """What came since the last call, in order."""
        with self._lock:
            came = list(self._inbox)
            self._inbox.clear()
            self._inbox_bytes = 0
            self._changed = False
            self._lock.notify_all()
            return came

    def wait(self, timeout_s: float) -> None:
        """Sleep until something came, the connection changed, or the time is over."""
        with self._lock:
            self._lock.wait_for(lambda: self._changed or self._stopping, max(0.0, timeout_s))

    def wake(self) -> None:
        """End a `wait`, from a signal handler or another thread: the lock is one that its holder may take again."""
        with self._lock:
            self._news()

    def stop(self) -> None:
        """Send what is queued, for a few seconds at most, and disconnect."""
        deadline = time.monotonic() + GOODBYE_S
        with self._lock:
            self._lock.wait_for(lambda: not self._numbers or self._session is None, deadline - time.monotonic())
            self._stopping = True
            self._lock.notify_all()
        self._client.disconnect()
        self._client.loop_stop()

    # --- paho's side: its network thread

    def _on_pre_connect(self, client: paho.Client, userdata: Any) -> None:
        """Each connection has a will with its own number."""
        assert self._will is not None
        topic, will = self._will
        client.will_set(topic, will(self._next), qos=1, retain=True)

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._unconnected(f"the broker refused the connection: {reason}")
            self._failed(None)
            return
        with self._lock:
            self._session = self._next
            self._next += 1
            self._standing = Standing(
                broker=self._standing.broker, connected=True, since=time.monotonic(), dropped=self.dropped
            )
            self._news()
        LOG.info("connected to the broker at %s", self._standing.broker)

    def _on_connect_fail(self, client: paho.Client, userdata: Any) -> None:
        # paho calls this while it handles the error, and says nothing of it.
        error = sys.exc_info()[1]
        self._unconnected(getattr(error, "strerror", None) or str(error or ""))
        self._failed(None)

    def _on_disconnect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        """Called twice for one loss on a keepalive timeout; the second time changes nothing."""
        with self._lock:
            was_connected, lasted_s = self._session is not None, time.monotonic() - self._standing.since
            if was_connected:
                self._session = None
                self._news()
        if not self._stopping and not self._renewing:
            self._unconnected(f"the connection was lost ({reason})")
        if was_connected:
            self._failed(lasted_s)

    def _unconnected(self, why: str) -> None:
        """Note why there is no connection; the log has a line when it ends, and when the reason is another one."""
        with self._lock:
            before = self._standing
            since = time.monotonic() if before.connected else before.since
            # A refusal is followed by a disconnect, which says less.
            if before.connected or not before.why or not why.startswith("the connection was lost"):
                self._standing = Standing(
                    broker=before.broker, connected=False, since=since, why=why, dropped=self.dropped
                )
            changed = self._standing != before
            if changed:
                self._news()
        if changed:
            LOG.warning("no broker at %s: %s; it is tried again", before.broker, why)

    def _failed(self, lasted_s: float | None) -> None:
        self._failures = failures_after(self._failures, lasted_s)
        self._set_delay()

    def _set_delay(self) -> None:
        delay = delay_s(self._failures, self._dice())
        self._client.reconnect_delay_set(delay, delay)  # type: ignore[arg-type]  # it says int and takes seconds

    def _on_message(self, client: paho.Client, userdata: Any, message: paho.MQTTMessage) -> None:
        size = len(message.payload) + len(message.topic) + MESSAGE_BYTES
        with self._lock:
            if len(message.payload) > MAX_PAYLOAD_BYTES or not self._lock.wait_for(
                lambda: self._inbox_bytes + size <= MAX_QUEUED_BYTES or self._stopping or self._renewing,
                BACK_PRESSURE_S,
            ):
                self._drop()
                return
            self._inbox.append(Message(message.topic, bytes(message.payload)))
            self._inbox_bytes += size
            self._news()

    def _drop(self) -> None:
        self.dropped += 1
        self._standing = msgspec.structs.replace(self._standing, dropped=self.dropped)

    def _on_publish(self, client: paho.Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._lock:
            number = self._numbers.pop(mid, None)
            if number is None:
                self._early.add(mid)
                if len(self._early) > MAX_QUEUED_MESSAGES:
                    self._early.clear()
            else:
                self._acknowledged.add(number)
            self._news()

    def _news(self) -> None:
        self._changed = True
        self._lock.notify_all()
