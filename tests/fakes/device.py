"""A whole fake device, and a hub that feeds it: the agent is real, everything around it is a small working model."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgefleet_agent.agent import Agent
from edgefleet_agent.config import Config, Limits
from edgefleet_agent.store import Store
from edgefleet_protocol.chunks import pack
from edgefleet_protocol.codec import decode, encode, sha256_hex
from edgefleet_protocol.dsse import seal
from edgefleet_protocol.manifest import (
    Accuracy,
    FileEntry,
    Golden,
    InputSpec,
    Interface,
    OutputSpec,
    Release,
    Requirement,
    TensorFile,
    Tolerance,
    Variant,
)
from edgefleet_protocol.messages import Command, DeviceState, Event, ModelState, Reply
from edgefleet_protocol.rollout import Assignment, DeviceAssignment, Policy, Probation, ReleaseRef, Rollout
from edgefleet_protocol.telemetry import TelemetryBatch, Window
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import COMMAND_TYPE, DEVICE_ASSIGNMENT_TYPE, PublicKey, release_path
from tests.fakes.clock import FakeClock
from tests.fakes.disk import FakeConnection, FakeDisk
from tests.fakes.identity import FakeSigner
from tests.fakes.launcher import Behaviour, FakeLauncher, FakeWorker, answer
from tests.fakes.link import FakeBroker, FakeLink
from tests.fakes.looker import FakeLooker
from tests.fakes.probe import FakeProbe

FLEET, DEVICE, REGION = "test", "pi-1", "eu-west"
STATE = Path("/state")
ROOT = Path("/root.json")
INPUTS = b"golden inputs..." * 4
COMMAND_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COMMAND_PUBLIC = PublicKey(
    keyid="c0ffee",
    keytype="ed25519",
    scheme="ed25519",
    public=COMMAND_KEY.public_key().public_bytes_raw().hex(),
)


@dataclass(frozen=True)
class Package:
    """A release as the hub has it."""

    release: Release
    document: bytes
    chunks: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        return sha256_hex(self.document)

    def variant_sha256(self, name: str) -> str:
        variant = self.release.variant(name)
        assert variant is not None
        return self.release.file(variant.files[0]).sha256


def package(
    version: int,
    variants: Mapping[str, float] | None = None,
    *,
    model: str = "fashion",
    size: int = 600,
    piece: int = 256,
    wrong: tuple[str, ...] = (),
    requires: Requirement | None = None,
    runtime: str = "fake",
    labels: tuple[str, ...] = (),
    providers: tuple[str, ...] = ("CPUExecutionProvider",),
    memory: Mapping[str, int] | None = None,
) -> Package:
    """Return a release with variants of the given accuracy; those in `wrong` have golden answers that are not theirs.

    memory: bytes that a variant's worker needs, by name: what orders variants before anything was measured.
    """
    chunks: dict[str, bytes] = {}
    files: list[FileEntry] = []

    def add(name: str, data: bytes) -> None:
        rows = [pack(data[at : at + piece]) for at in range(0, len(data), piece)]
        chunks.update({chunk.sha256: payload for chunk, payload in rows})
        entry = FileEntry(name=name, bytes=len(data), sha256=sha256_hex(data), chunks=tuple(row[0] for row in rows))
        files.append(entry)

    add("golden/inputs.bin", INPUTS)
    rows = []
    for name, accuracy in (variants or {"small": 0.9}).items():
        seed = f"{model}/{version}/{name}".encode()
        data = b"".join(sha256(seed + bytes([n % 251])).digest() for n in range(size // 32))
        add(f"{name}/model.bin", data)
        add(f"golden/{name}.bin", answer(data, INPUTS if name not in wrong else b"other"))
        output = TensorFile(name="y", datatype="UINT8", shape=(1, 32), file=f"golden/{name}.bin")
        tolerances = tuple(Tolerance(provider=name, max_abs=0.0) for name in providers)
        golden = Golden(outputs=(output,), tolerances=tolerances)
        rows.append(
            Variant(
                name=name,
                files=(f"{name}/model.bin",),
                golden=golden,
                accuracy=Accuracy(metric="top1", value=accuracy, samples=1000),
                bytes=len(data),
                runtime=runtime,
                requires=requires or Requirement(load_s=5.0, memory_bytes=(memory or {}).get(name, 0)),
            )
        )
    interface = Interface(
        task="other",
        inputs=(InputSpec(name="x", datatype="UINT8", shape=(-1, len(INPUTS))),),
        outputs=(OutputSpec(name="y", datatype="UINT8", shape=(-1, 32)),),
        labels=labels,
    )
    release = Release(
        model=model,
        version=version,
        interface=interface,
        golden_inputs=(TensorFile(name="x", datatype="UINT8", shape=(1, len(INPUTS)), file="golden/inputs.bin"),),
        variants=tuple(rows),
        files=tuple(files),
    )
    return Package(release, encode(release), chunks)


def assign(wanted: Package, **rest: object) -> Assignment:
    """Return an assignment of a release, on probation for 20 s unless told otherwise."""
    ref = ReleaseRef(path=release_path(wanted.release.name), sha256=wanted.sha256)
    settings: dict[str, object] = {"probation": Probation(seconds=20.0, min_requests=20), **rest}
    return Assignment(model=wanted.release.model, release=ref, **settings)  # type: ignore[arg-type]


@dataclass
class FakeHub:
    """The server's side: everything is retained."""

    broker: FakeBroker
    version: int = 0
    listed: dict[str, str] = field(default_factory=dict)
    rollouts: dict[str, str] = field(default_factory=dict)
    serial: int = 0
    topics: Topics = field(default_factory=lambda: Topics(FLEET))

    def publish(self, *packages: Package, chunks: bool = True) -> None:
        """List releases, and make their manifests and chunks retained."""
        for one in packages:
            self.listed[release_path(one.release.name)] = one.sha256
            self.broker.publish(self.topics.target(one.sha256), one.document, retain=True)
            if chunks:
                for name, payload in one.chunks.items():
                    self.broker.publish(self.topics.chunk(name), payload, retain=True)

    def roll_out(
        self, *assignments: Assignment, region: str = REGION, policy: Policy | None = None, frozen: str = ""
    ) -> None:
        """Sign a region's whole wish."""
        self.serial += 1
        rollout = Rollout(
            region=region,
            serial=self.serial,
            issued=datetime(2027, 1, 1, tzinfo=timezone.utc),
            policy=policy or Policy(telemetry_interval_s=10.0),
            assignments=assignments,
            frozen=frozen,
        )
        document = encode(rollout)
        self.rollouts[region] = sha256_hex(document)
        self.broker.publish(self.topics.target(sha256_hex(document)), document, retain=True)
        self.stamp()

    def stamp(self, **more: object) -> None:
        """Publish a new timestamp."""
        self.version += 1
        key = {
            "keyid": COMMAND_PUBLIC.keyid,
            "keytype": "ed25519",
            "scheme": "ed25519",
            "public": COMMAND_PUBLIC.public,
        }
        stamp = {
            "version": self.version,
            "rollouts": self.rollouts,
            "releases": self.listed,
            "keys": [key],
            **more,
        }
        self.broker.publish(self.topics.trust(f"{self.version}.snapshot.json"), b"{}", retain=True)
        self.broker.publish(self.topics.trust("head"), b'{"root": 1}', retain=True)
        self.broker.publish(self.topics.trust("timestamp.json"), json.dumps(stamp).encode(), retain=True)

    def command(self, command: Command, key: Ed25519PrivateKey = COMMAND_KEY) -> None:
        """Send a signed command to the device that it names."""
        envelope = seal(COMMAND_TYPE, encode(command), COMMAND_PUBLIC.keyid, key.sign)
        self.broker.publish(self.topics.of_device(command.device, "command"), envelope)

    def assign_region(self, region: str = REGION, number: int = 1, device: str = DEVICE, frozen: str = "") -> None:
        """Tell a device where it belongs."""
        row = DeviceAssignment(device=device, number=number, region=region, frozen=frozen)
        envelope = seal(DEVICE_ASSIGNMENT_TYPE, encode(row), COMMAND_PUBLIC.keyid, COMMAND_KEY.sign)
        self.broker.publish(self.topics.of_device(device, "assignment"), envelope, retain=True)


def config(**limits: int) -> Config:
    """Return the configuration of the fake device."""
    return Config(
        fleet=FLEET, device=DEVICE, root=ROOT, state=STATE, limits=Limits(**{"reserve_bytes": 1000, **limits})
    )


def fresh_disk() -> FakeDisk:
    """Return the disk of a device that was never started: the folder of the state, and the pinned root."""
    disk = FakeDisk()
    disk.mkdir(STATE)
    disk.write(ROOT, b"{}")
    disk.fsync(ROOT, "fact-file")
    disk.fsync_folder(Path("/"), "fact-folder")
    disk.operations = 0
    return disk


@dataclass
class FakeDevice:
    """One device: it boots from its disk, and runs until something holds."""

    broker: FakeBroker = field(default_factory=FakeBroker)
    disk: FakeDisk = field(default_factory=fresh_disk)
    clock: FakeClock = field(default_factory=FakeClock)
    probe: FakeProbe = field(default_factory=FakeProbe)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    looker: FakeLooker = field(default_factory=FakeLooker)
    settings: Config = field(default_factory=config)
    after_turn: Callable[["FakeDevice"], None] | None = None
    boots: int = 0
    signer: FakeSigner | None = None

    def boot(self) -> "FakeDevice":
        """Start the agent from what is on the disk."""
        self.boots += 1
        self.clock.boot_id = f"boot-{self.boots}-{self.clock.wall:.0f}"
        self.launcher = FakeLauncher(self.disk, self.behaviours)
        self.link = FakeLink(self.broker)
        store = Store(self.disk, STATE, connect=lambda path: FakeConnection(self.disk, path))
        self.agent = Agent(
            self.clock, self.link, store, self.launcher, self.probe, self.looker, self.settings, self.signer
        )
        return self

    def turn(self) -> None:
        """One turn, and time passes until the next."""
        wake_at = self.agent.turn(self.clock.monotonic())
        # What comes ends the wait, as it does for a real link.
        wait_s = 0.01 if self.link.inbox else wake_at - self.clock.monotonic()
        self.clock.advance(min(max(wait_s, 0.01), 5.0))
        if self.after_turn is not None:
            self.after_turn(self)

    def run(self, until: Callable[["FakeDevice"], object] | None = None, turns: int = 400) -> None:
        """Turn until `until` holds; raise AssertionError, with the state, when it does not within `turns`."""
        for _ in range(turns):
            self.turn()
            if until is not None and until(self):
                return
        if until is not None:
            raise AssertionError(f"it did not happen within {turns} turns; {self.state()}")

    def pass_time(self, seconds: float) -> None:
        """Turn until so much time has passed."""
        ends = self.clock.monotonic() + seconds
        while self.clock.monotonic() < ends:
            self.turn()

    def stop(self) -> None:
        """End in good order."""
        self.agent.stop(self.clock.monotonic())

    def state(self) -> DeviceState | None:
        """Return the state that the server has."""
        payload = self.broker.retained.get(Topics(FLEET).of_device(DEVICE, "state"))
        return decode(payload, DeviceState) if payload else None

    def model(self, name: str = "fashion") -> ModelState | None:
        """Return what the server knows of a model here."""
        state = self.state()
        return next((row for row in state.models if row.model == name), None) if state else None

    def phase(self, name: str = "fashion") -> str:
        model = self.model(name)
        return model.phase if model else "unknown"

    def serving(self, name: str = "fashion") -> str | None:
        """Return the release that an application reaches now."""
        worker: FakeWorker | None = self.launcher.answering(name)
        return worker.spec.release if worker else None

    def replies(self) -> list[Reply]:
        """Return what the device answered to commands."""
        return [decode(payload, Reply) for payload in self.broker.payloads("/reply")]

    def events(self) -> list[Event]:
        """Return the events that the server got."""
        return [decode(payload, Event) for payload in self.broker.payloads("/event")]

    def batches(self) -> list[TelemetryBatch]:
        """Return the telemetry that the server got, message by message."""
        return [decode(zlib.decompress(row), TelemetryBatch) for row in self.broker.payloads(f"/telemetry/{DEVICE}")]

    def windows(self) -> list[Window]:
        """Return each window once, as the server counts them."""
        rows = (row for batch in self.batches() for row in batch.windows)
        return list({(row.boot, row.started_monotonic_s): row for row in rows}.values())

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events()]


def proven(release: Package) -> Callable[[FakeDevice], bool]:
    """Return whether a device runs a release and has proven it."""

    def holds(device: FakeDevice) -> bool:
        model = device.model(release.release.model)
        running = model.running if model else None
        return running is not None and running.release_sha256 == release.sha256 and running.proven

    return holds


def failed(release: Package) -> Callable[[FakeDevice], bool]:
    """Return whether a release is known as failed on a device, and another serves."""

    def holds(device: FakeDevice) -> bool:
        model = device.model(release.release.model)
        return model is not None and model.phase == "failed" and model.wanted_sha256 == release.sha256

    return holds


def fleet() -> tuple[FakeDevice, FakeHub]:
    """Return a device that is assigned to a region, and its hub. Nothing is rolled out yet."""
    device = FakeDevice()
    hub = FakeHub(device.broker)
    hub.stamp()
    hub.assign_region()
    return device, hub
