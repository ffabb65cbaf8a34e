"""One more client of the broker, that may do what it should not: read everything, and write over what is retained."""

import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion


class Intruder:
    """`with Intruder(port) as intruder:`; `retained` is what the broker keeps, `put` replaces it."""

    def __init__(self, port: int, secure: Callable[[paho.Client, str], None] = lambda client, name: None) -> None:
        """secure: gives a client of a name what a broker with identities asks for."""
        self._port, self._secure = port, secure

    def __enter__(self) -> "Intruder":
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="intruder")
        self._secure(self._client, "intruder")
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def put(self, topic: str, payload: bytes) -> None:
        """Publish, retained, and return once the broker has it. An empty payload removes what was retained."""
        self.send(topic, payload, retain=True)

    def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish, and return once the broker has it."""
        sent = self._client.publish(topic, payload, qos=1, retain=retain)
        sent.wait_for_publish(60)
        assert sent.is_published(), f"the broker did not take {topic}"

    def retained(self, prefix: str) -> dict[str, bytes]:
        """Return what the broker retains below `prefix`, by topic."""
        found: dict[str, bytes] = {}
        ended = threading.Event()
        marker = f"intruder/{time.monotonic_ns()}"

        def on_message(client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
            if message.topic == marker:
                ended.set()
            elif message.retain:
                found[message.topic] = bytes(message.payload)

        reader = paho.Client(CallbackAPIVersion.VERSION2, client_id="intruder-reads")
        self._secure(reader, "intruder-reads")
        reader.max_queued_messages_set(0)
        reader.on_message = on_message
        reader.on_connect = lambda client, *_: client.subscribe([(f"{prefix}/#", 0), (marker, 0)])
        # What is retained comes before the answer to what is published after the subscription.
        reader.on_subscribe = lambda client, *_: client.publish(marker, b"end")
        reader.connect("127.0.0.1", self._port)
        reader.loop_start()
        try:
            assert ended.wait(60), "the broker did not say what it retains"
        finally:
            reader.disconnect()
            reader.loop_stop()
        return found

    def next(self, topic: str, timeout_s: float = 60.0) -> bytes:
        """Return the next message of a topic."""
        return self.listen(topic).get(timeout=timeout_s)

    def listen(self, topic: str) -> "queue.SimpleQueue[bytes]":
        """Return where the messages of a topic come, from now on."""
        came: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.message_callback_add(topic, lambda client, userdata, message: came.put(bytes(message.payload)))
        self._client.subscribe(topic)
        assert subscribed.wait(60), f"the broker did not take the subscription to {topic}"
        return came
