"""The seams of the agent: one small interface for each thing outside it.

`Agent(clock, link, store, launcher, probe, looker)` knows nothing else of the world, so that tests and the simulator put
working fakes here and run many agents in one process. Nothing here blocks for longer than a disk write, except
`Looker.look` (tens of milliseconds) and `Worker.ask` (its own deadline).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Golden, Interface, TensorFile
from edgefleet_protocol.sketch import Sketch
from edgefleet_protocol.telemetry import DeviceWindow
from edgefleet_protocol.trust import PublicKey

from .tuning import Tune, Tuning


class Clock(Protocol):
    """Two clocks: the wall's may jump and may be at 1970, the monotonic one only counts."""

    def now(self) -> float:
        """Seconds since 1970 by the device's clock."""

    def monotonic(self) -> float:
        """Seconds since boot."""

    def boot(self) -> str:
        """The kernel's boot id."""


@dataclass(frozen=True)
class Message:
    """Something that came from the broker."""

    topic: str
    payload: bytes


class Link(Protocol):
    """The broker. Never raises for a lost connection: it reconnects by itself, with full jitter."""

    def connected_session(self) -> int | None:
        """The number of this connection, counting up; None while there is none. A new number means: subscribe again."""

    def start(self, first_session: int, will_topic: str, will: Callable[[int], bytes]) -> None:
        """Connect, and stay connected. The first connection has the number `first_session`, each later one the next.

        will: the retained last will of a connection, by its number.
        """

    def subscribe(self, topics: Sequence[str], qos: int = 0) -> None:
        """Ask for topics; at most 8 to a packet go out. Retained messages come again for each subscription."""

    def unsubscribe(self, topics: Sequence[str]) -> None:
        """No longer ask for topics."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> int:
        """Send; return a number that `acknowledged` yields once the broker has it (at once for QoS 0)."""

    def acknowledged(self) -> set[int]:
        """Numbers of messages that the broker has taken since the last call."""

    def receive(self) -> list[Message]:
        """What came since the last call, in order."""

    def wait(self, timeout_s: float) -> None:
        """Sleep until something came, the connection changed, or the time is over. Only the loop around turns calls it."""

    def stop(self) -> None:
        """Send what is queued and disconnect."""


@dataclass(frozen=True)
class WorkerSpec:
    """Everything that a worker process is started with."""

    model: str
    release: str
    release_sha256: str
    variant: str
    variant_sha256: str
    runtime: str
    provider: str
    model_path: Path
    """The first file of the variant; others lie beside it."""
    interface: Interface
    memory_limit_bytes: int | None
    cpu_limit_s: int | None
    """Of the whole process; None for one that serves."""
    golden_folder: Path
    golden_inputs: tuple[TensorFile, ...]
    golden: Golden
    threads: int = 1
    tuning: Tuning | None = None
    """How a trial found that it runs best here; None: plainly, with `threads`."""
    tune: Tune | None = None
    """What a trial may try; None in serving."""
    engines: Path | None = None
    """Where engines that the provider builds lie, outside the signed tree; a trial builds them, serving only reads."""
    load_s: float = 60.0
    """Signed: the longest time to load and answer once."""


@dataclass(frozen=True)
class TrialReport:
    """What a trial found. `reason` says why it failed, with the values that disagree."""

    ok: bool
    reason: str
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    load_s: float | None = None
    memory_bytes: int | None = None
    """Peak proportional set size of the worker."""
    limits_held: Mapping[str, str] = field(default_factory=dict)
    blame: Literal["variant", "runtime"] = "variant"
    """What a failure is laid to: a runtime that cannot be imported is no variant's fault."""
    tuning: Tuning | None = None
    """The way of setting up that was best here."""
    tuning_why: str = ""


class Trial(Protocol):
    """A candidate that answers the golden inputs in a process of its own, under limits and without network."""

    def poll(self) -> TrialReport | None:
        """The report, or None while it runs. A death by signal, limit or time is a report that says so."""

    def stop(self) -> None:
        """End it at once."""


@dataclass(frozen=True)
class Served:
    """What a worker counted since the last call."""

    requests: int
    errors: int
    latency: Sketch
    confidence: Sketch | None
    memory_bytes: int | None
    busy_s: float | None = None
    """How long the oldest inference under way has been running; None when none is, or it could not be asked."""
    silent_s: float = 0.0
    """Since the first question that was left without an answer; 0 when this one was answered."""
    silent_asks: int = 0


class Worker(Protocol):
    """One model in one process, on listening sockets that it inherited."""

    def poll(self) -> Literal["starting", "ready", "dead"]:
        """Where it is. `ready`: the model is loaded and it can be asked."""

    def why_dead(self) -> str:
        """How it ended, in words: exit code, signal, and the last line that it printed."""

    def blame(self) -> Literal["variant", "runtime"]:
        """What its death is laid to."""

    def kill(self, because: str) -> None:
        """End it at once: it hangs. `because` is then what `why_dead` says."""

    def accept(self) -> None:
        """Take connections from the shared sockets."""

    def pause(self) -> None:
        """Take no more connections; finish those that it has, closing each after its answer."""

    def served(self) -> Served:
        """Counts since the last call, cheap enough for once a window."""

    def stop(self, drain_s: float) -> None:
        """Finish what is in flight, for at most `drain_s`, and end. Returns at once."""


@dataclass(frozen=True)
class Asked:
    """How a worker that was asked the golden inputs answered."""

    why_not: str | None
    """None: right, within tolerance, and by the variant that was asked."""


class Asking(Protocol):
    """Golden inputs on their way through the serving path."""

    def poll(self) -> Asked | None:
        """How it went, or None while it goes on. Gets on with it for at most 20 ms; never raises."""

    def stop(self) -> None:
        """Ask no more."""


class Launcher(Protocol):
    """Starts workers, and says which limits really hold on this machine."""

    def limits_held(self) -> dict[str, str]:
        """`memory: rlimit`, `network: namespace`, `cpu: rlimit`; a limit that could not be had is `none: <why>`."""

    def sockets(self, model: str) -> None:
        """Bind the Unix and the loopback socket of `model`, once; they outlive every worker."""

    def try_out(self, spec: WorkerSpec, wall_limit_s: float) -> Trial:
        """Start a trial of a candidate."""

    def start(self, spec: WorkerSpec) -> Worker:
        """Start a worker that loads the model; it serves once `accept` is called."""

    def begin_golden(self, spec: WorkerSpec, deadline_s: float) -> Asking:
        """Begin to send the golden inputs through the serving path, the model's Unix socket, as an application would.

        Returns at once. The answers are right within tolerance and when they come from `spec.variant_sha256`.
        """


class Signer(Protocol):
    """The device's own key, which says: this comes from that device. None where a device has no identity."""

    @property
    def certificate(self) -> str:
        """PEM: whose key it is, as the fleet's authority says."""

    def sign_envelope(self, payload_type: str, payload: bytes) -> bytes:
        """A DSSE envelope around `payload`: ECDSA on P-256 with SHA-256, the signature in DER."""


class Probe(Protocol):
    """What the device is, and how it is."""

    def machine(self) -> str:
        """The board's serial number, as its firmware says; empty where it says none."""

    def hardware(self) -> Hardware:
        """Read once per start."""

    def device_window(self) -> DeviceWindow:
        """Now. What is lacking is None."""

    def storage_free_bytes(self) -> int:
        """Free bytes of the file system that holds the state."""

    def memory_available_bytes(self) -> int | None:
        """Bytes that a new process could have."""

    def memory_pressure_percent(self) -> float | None:
        """Share of the last ten seconds in which some task waited for memory."""

    def measure_power(self, until: float) -> None:
        """Read power several times a second until then, in monotonic seconds, where that can be done; never waits."""

    def power_readings(self) -> tuple[tuple[float, float], ...]:
        """(monotonic seconds, watts) of what was read so since the last call, of the source of the last `device_window`."""

    def interface(self) -> str | None:
        """The network interface of the way out, `wlan0`."""


@dataclass(frozen=True)
class Memory:
    """The rollback memory: what python-tuf's own cache forgets when it is torn (docs/decisions)."""

    versions: Mapping[str, int] = field(default_factory=dict)
    keyids: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    floor: datetime | None = None
    """The latest signed time that a look has passed with; older is not now, whatever the clock says."""
    floor_keyids: tuple[str, ...] = ()


@dataclass(frozen=True)
class LookRequest:
    """All that a look needs. `cache` and `memory` are what the last `Looked` gave, kept durably by the agent."""

    root: bytes
    """The packaged root: the anchor, always."""
    cache: Mapping[str, bytes]
    memory: Memory
    held: Mapping[str, bytes]
    """Metadata that came, by name: `head`, `timestamp.json`, `3.snapshot.json`."""
    targets: Mapping[str, bytes]
    """Targets that came, by SHA-256."""
    region: str | None
    now: datetime


@dataclass(frozen=True)
class Looked:
    """Everything verified. The agent stores cache and memory before it obeys."""

    cache: Mapping[str, bytes]
    memory: Memory
    versions: Mapping[str, int]
    command_keys: tuple[PublicKey, ...]
    rollout: bytes | None
    """The region's signed wish; None when no rollout was ever signed for it, or no region is known yet."""
    manifests: Mapping[str, bytes]
    """By SHA-256: every release that the rollout names, listed by the offline hand under the same path and digest."""
    refused_releases: Mapping[str, str]
    """By path: releases that the rollout names and that are not to be obeyed, with the reason."""
    expires: datetime | None = None
    """When the first of what was verified ends; until then, the same metadata need not be looked at again."""


@dataclass(frozen=True)
class Missing:
    """A look that could not be finished: these must be asked of the broker first."""

    metadata: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    roots: Mapping[str, bytes] = field(default_factory=dict, compare=False)
    """By name: the chain to a newer root than is remembered. It was verified, and is kept although the look is not over."""


@dataclass(frozen=True)
class Refused:
    """A look that found something false, replayed or expired. What runs keeps running."""

    reason: str
    roots: Mapping[str, bytes] = field(default_factory=dict, compare=False)
    """As in `Missing`: what a newer root revokes stays revoked, whatever else was wrong."""


class Looker(Protocol):
    """Verifies with python-tuf: in this process, or in a short-lived child that keeps the agent small."""

    def look(self, request: LookRequest) -> Looked | Missing | Refused:
        """Return what may be obeyed."""
