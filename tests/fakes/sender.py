"""A device that sends telemetry as fast as it is taken, and remembers what the broker has acknowledged."""

from __future__ import annotations

import threading
import time
import zlib

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgefleet_protocol.codec import encode
from edgefleet_protocol.sketch import Sketch
from edgefleet_protocol.telemetry import ModelWindow, TelemetryBatch, Window
from edgefleet_protocol.topics import Topics

MODEL = ModelWindow(
    model="fashion", release="fashion/1", release_sha256="a" * 64, variant="fp32", requests=3, latency=Sketch(counts=(1, 1, 1))
)  # fmt: skip


def payload(device: str, number: int, windows: int) -> bytes:
    """Return message `number` of a device: windows of the last hour, each with a name of its own."""
    start = time.time() - 3600
    rows = tuple(
        Window(
            start_s=start + 60 * n, seconds=60.0, boot="b", started_monotonic_s=float(number * windows + n), models=(MODEL,)
        )
        for n in range(windows)
    )  # fmt: skip
    return zlib.compress(encode(TelemetryBatch(device=device, windows=rows)))


class Sender:
    """`with Sender(port, "one") as sender:` sends until it is told to stop."""

    def __init__(
        self, port: int, device: str, *, windows: int = 5, fleet: str = "demo", pause_s: float = 0.002
    ) -> None:
        self.device, self.windows, self.sent = device, windows, 0
        self._topic = Topics(fleet).of_device(device, "telemetry")
        self._pause_s, self._stopping = pause_s, threading.Event()
        self._turn = threading.Lock()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=device)
        self._client.connect("127.0.0.1", port)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Sender:
        self._client.loop_start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._client.disconnect()
        self._client.loop_stop()

    def stop(self) -> None:
        """Send no more; return once the broker has all that was sent."""
        self._stopping.set()
        self._thread.join(timeout=30)

    def send(self) -> None:
        """Send one message, and return once the broker has it."""
        with self._turn:
            said = self._client.publish(self._topic, payload(self.device, self.sent, self.windows), qos=1)
            said.wait_for_publish(30)
            self.sent += 1

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_s):
            self.send()
