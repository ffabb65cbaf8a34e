"""A small device for the server's tests: obeys rollout documents over a real broker, and fails where its script says so.

It verifies no signature and serves no model; what the server sees of it is what it would see of an agent.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Mapping

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgefleet_protocol.audience import models_of, wish_for
from edgefleet_protocol.choose import choose
from edgefleet_protocol.chunks import unpack
from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.hardware import Hardware, RuntimeInfo
from edgefleet_protocol.manifest import Chunk, Release
from edgefleet_protocol.messages import DeviceState, Event, Failure, ModelState, Need, Presence, Running
from edgefleet_protocol.rollout import Rollout
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, TelemetryBatch, Window
from edgefleet_protocol.topics import Topics

PI4 = Hardware(
    board="raspberrypi,4-model-b",
    hardware_class="pi4",
    arch="aarch64",
    features=("asimd",),
    cores=4,
    memory_bytes=4_000_000_000,
    storage_bytes=32_000_000_000,
    runtimes=(RuntimeInfo(name="onnxruntime", version="1.23.2"),),
)
ZERO = Hardware(
    board="raspberrypi,model-zero-2-w",
    hardware_class="pi-zero-2-w",
    arch="aarch64",
    features=("asimd",),
    cores=4,
    memory_bytes=500_000_000,
    storage_bytes=16_000_000_000,
    runtimes=(RuntimeInfo(name="onnxruntime", version="1.23.2"),),
)


class ScriptedDevice:
    """`fails`: reason by release, of those that fail their trial here. `stalls`: releases that it never gets done with."""

    def __init__(
        self,
        port: int,
        name: str,
        region: str,
        fleet: str = "demo",
        hardware: Hardware = PI4,
        fails: Mapping[str, str] | None = None,
        stalls: tuple[str, ...] = (),
        session: int = 1,
    ) -> None:
        self.name, self.region, self.hardware = name, region, hardware
        self.fails, self.stalls, self.session = dict(fails or {}), stalls, session
        self.topics = Topics(fleet)
        self.boot = f"boot-{name}"
        self.targets: dict[str, bytes] = {}
        self.trust: dict[str, bytes] = {}
        self.chunks: dict[str, bytes] = {}
        self.assignments: list[bytes] = []
        self.rollout: Rollout | None = None
        self.running: dict[str, Running] = {}
        self.failures: dict[str, list[Failure]] = {}
        self.fetches = 0
        self._phases: dict[str, tuple[str, str, str]] = {}
        self._wanted: dict[str, Chunk] = {}
        self._asked_s = 0.0
        self._said: bytes = b""
        self._number = 0
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=True)
        client.max_queued_messages_set(0)
        client.will_set(self._own("presence"), encode(self._presence(False)), qos=1, retain=True)
        client.reconnect_delay_set(1, 1)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        self._client = client
        self._host = ("127.0.0.1", port)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> ScriptedDevice:
        self._client.connect_async(*self._host, keepalive=60)
        self._client.loop_start()
        eventually(f"{self.name} is connected", self._client.is_connected)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send anything, as a device that went bad could."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def event(self, kind: str, text: str, number: int | None = None) -> None:
        """Send an event, with the next number or, to repeat one, with that."""
        if number is None:
            self._number += 1
            number = self._number
        event = Event(device=self.name, boot=self.boot, number=number, at_s=time.time(), kind=kind, text=text)
        self.publish(self._own("event"), encode(event))

    def telemetry(self, *seconds: float, started_s: float = 60.0, battery: float | None = None) -> None:
        """Send one window in which requests took these times."""
        sketch = SketchBuilder()
        for value in seconds:
            sketch.add(value)
        models = tuple(
            ModelWindow(
                model=model,
                release=running.release,
                release_sha256=running.release_sha256,
                variant=running.variant,
                requests=len(seconds),
                latency=sketch.build(),
                memory_bytes=48_000_000,
            )
            for model, running in self.running.items()
        )
        window = Window(
            start_s=time.time() - 10,
            seconds=10.0,
            boot=self.boot,
            started_monotonic_s=started_s,
            device=DeviceWindow(temperature_c=48.5, battery_percent=battery),
            models=models,
        )
        self.publish(self._own("telemetry"), zlib.compress(encode(TelemetryBatch(device=self.name, windows=(window,)))))

    def need(self, *chunks: str) -> None:
        """Ask for chunks that did not come."""
        self.publish(self._own("need"), encode(Need(device=self.name, chunks=chunks)))

    def hang_up(self) -> None:
        """Drop the connection without a word, so that the broker sends the will."""
        self._stopping.set()
        self._thread.join(10)
        sock = self._client.socket()
        self._client.loop_stop()
        if sock is not None:
            sock.close()

    def say_state(self) -> None:
        """Send the state now, also when nothing changed."""
        self._said = b""
        self._tell()

    def _run(self) -> None:
        while not self._stopping.wait(0.05):
            with self._lock:
                self._obey()
                self._tell()

    def _own(self, kind: str) -> str:
        return self.topics.of_device(self.name, kind)  # type: ignore[arg-type]

    def _presence(self, online: bool) -> Presence:
        return Presence(device=self.name, session=self.session, online=online)

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        for row in ("trust/#", "target/#"):
            client.subscribe(f"{self.topics.prefix}/{row}", qos=1)
        client.subscribe(self._own("assignment"), qos=1)
        client.publish(self._own("presence"), encode(self._presence(True)), qos=1, retain=True)
        with self._lock:
            self._said = b""
            self._wanted = {}

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        row, payload = self.topics.parse(message.topic), bytes(message.payload)
        with self._lock:
            if row.kind == "assignment":
                self.assignments.append(payload)
            elif not payload:
                {"trust": self.trust, "target": self.targets}.get(row.kind, {}).pop(row.name, None)
            elif row.kind == "trust":
                self.trust[row.name] = payload
            elif row.kind == "target":
                self.targets[row.name] = payload
                self._newest_rollout(payload)
            elif row.kind == "chunk" and row.name in self._wanted:
                self.chunks[row.name] = unpack(payload, self._wanted.pop(row.name))
                self.fetches += 1
                client.unsubscribe(message.topic)

    def _newest_rollout(self, payload: bytes) -> None:
        try:
            rollout = decode(payload, Rollout)
        except ProtocolError:
            return
        if rollout.region == self.region and (self.rollout is None or rollout.serial > self.rollout.serial):
            self.rollout = rollout

    def _obey(self) -> None:
        if self.rollout is None:
            return
        for model in models_of(self.rollout):
            wish, why = wish_for(model, self.name, (), self.hardware.hardware_class, self.rollout)
            if wish is None:
                self._phases[model] = ("idle", why, "")
                continue
            if self.running.get(model) and self.running[model].release_sha256 == wish.release.sha256:
                self._phases[model] = ("proven", "runs what is wanted", wish.release.sha256)
                continue
            data = self.targets.get(wish.release.sha256)
            if data is None:
                self._phases[model] = ("waiting", "the manifest has not come", wish.release.sha256)
                continue
            self._phases[model] = self._towards(decode(data, Release), wish.release.sha256)

    def _towards(self, release: Release, sha256: str) -> tuple[str, str, str]:
        assert self.rollout is not None
        if release.name in self.stalls:
            return "fetching", "fetching, and will for ever", sha256
        choice = choose(release, self.hardware, self.rollout.policy)
        if choice.taken is None:
            return "failed", choice.why, sha256
        missing = {
            chunk.sha256: chunk
            for entry in release.files_for(choice.taken)
            for chunk in entry.chunks
            if chunk.sha256 not in self.chunks
        }
        if missing:
            for name in missing.keys() - self._wanted.keys():
                self._wanted[name] = missing[name]
                self._client.unsubscribe(self.topics.chunk(name))
                self._client.subscribe(self.topics.chunk(name), qos=0)
            if time.monotonic() - self._asked_s > 1.0:
                if self._asked_s:
                    self._client.publish(
                        self._own("need"), encode(Need(device=self.name, chunks=tuple(missing)[:256])), qos=1
                    )
                self._asked_s = time.monotonic()
            return "fetching", f"{len(missing)} chunks to go", sha256
        self._asked_s = 0.0
        if release.name in self.fails:
            rows = self.failures.setdefault(release.model, [])
            if not any(row.release_sha256 == sha256 for row in rows):
                rows.append(
                    Failure(
                        release=release.name,
                        release_sha256=sha256,
                        variant=choice.taken.name,
                        stage="trial",
                        reason=self.fails[release.name],
                        at_s=time.time(),
                    )
                )
            return "failed", self.fails[release.name], sha256
        self.running[release.model] = Running(
            release=release.name,
            release_sha256=sha256,
            variant=choice.taken.name,
            variant_sha256=release.file(choice.taken.files[0]).sha256,
            since_s=time.time(),
            proven=True,
        )
        return "proven", "runs what is wanted", sha256

    def _tell(self) -> None:
        models = tuple(
            ModelState(
                model=model,
                phase=phase,  # type: ignore[arg-type]
                why=why,
                wanted_sha256=sha256 or None,
                running=self.running.get(model),
                failures=tuple(self.failures.get(model, ())),
            )
            for model, (phase, why, sha256) in self._phases.items()
        )
        state = DeviceState(
            device=self.name,
            session=self.session,
            boot=self.boot,
            at_s=1.0,
            agent_version="0.1.0",
            region=self.region,
            hardware=self.hardware,
            rollout_serial=self.rollout.serial if self.rollout else 0,
            models=models,
        )
        data = encode(state)
        if data != self._said and self._client.is_connected():
            self._client.publish(self._own("state"), data, qos=1, retain=True)
            self._said = data


def eventually(what: str, holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Return once `holds()`; fail the test, saying what did not come, when it never does."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"in {timeout_s:g} s this did not come: {what}"
        time.sleep(0.05)
