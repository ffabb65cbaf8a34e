"""What devices and server say to each other besides documents that are signed offline."""

from typing import Annotated, Literal

from msgspec import Meta

from .codec import Document, Moment, Record
from .hardware import Hardware
from .names import DeviceId, ModelName, RegionName, Sha256, VariantName

Text = Annotated[str, Meta(max_length=2000)]
Label = Annotated[str, Meta(max_length=128)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Seconds = Annotated[float, Meta(ge=0, le=1e9)]

MAX_MESSAGE_BYTES = 60_000
MAX_SIGNED_STATE_BYTES = 44_000
"""Of a state that travels in an envelope: base64 makes a third more of it, and the signature comes to that."""
MAX_STARTS = 16
MAX_COMMAND_S = 300.0
"""The longest that a command may live."""
MAX_PIECE_BYTES = 36_000
"""Of a long answer: base64 makes 48,000 of it, below MAX_MESSAGE_BYTES with all that stands beside it."""
MAX_PIECES = 16
MAX_ANSWER_BYTES = 2_000_000
"""Of a long answer when it is unpacked."""

ModelPhase = Literal["waiting", "fetching", "trying", "probation", "proven", "failed", "idle"]
"""Derived from facts each time it is told, never stored:
waiting for a condition; fetching chunks; trying before it serves; active and on probation; active and proven;
what is wished failed here and the previous one (if any) serves; nothing is wished."""


class Running(Record, frozen=True, kw_only=True):
    """What serves a model now. It has answered the golden inputs through the serving path."""

    release: Label
    release_sha256: Sha256
    variant: VariantName
    variant_sha256: Sha256
    """Digest of the variant's first file."""
    since_s: Moment
    proven: bool = False
    provider: Label = ""
    """What it runs on, as in `CPUExecutionProvider`; empty where nobody said."""


class Measured(Record, frozen=True, kw_only=True):
    """What the trial measured of one variant on this very device."""

    release: Label
    variant: VariantName
    latency_p50_s: Seconds
    latency_p95_s: Seconds
    memory_bytes: Count | None = None


class Failure(Record, frozen=True, kw_only=True):
    """What failed here, and is not tried again."""

    release: Label
    release_sha256: Sha256
    variant: VariantName
    stage: Literal["choose", "fetch", "verify", "trial", "switch", "probation", "deadline"]
    reason: Text
    at_s: Moment


class ModelState(Record, frozen=True, kw_only=True):
    """One model on one device."""

    model: ModelName
    phase: ModelPhase
    why: Text
    """The words of the step that is being done or waited for."""
    wanted: Label | None = None
    wanted_sha256: Sha256 | None = None
    running: Running | None = None
    previous: Running | None = None
    chosen: VariantName | None = None
    chosen_why: Text = ""
    measured: Annotated[tuple[Measured, ...], Meta(max_length=64)] = ()
    failures: Annotated[tuple[Failure, ...], Meta(max_length=64)] = ()
    waits_until_s: Moment | None = None
    """By the device's clock, when what it waits for ends by itself: a window opens, a hold or a lease is over."""
    pinned: Text | None = None
    """The release that the device's owner pinned, and who did; it wins over the rollout."""
    held: Text | None = None
    """That the owner lets nothing new begin, until when, and who said so."""
    governed: Text | None = None
    """The cheaper variant that the governor stepped down to, and why."""
    quarantined: Text | None = None
    """That nothing new is taken after repeated failures, and until when."""
    leases: Annotated[tuple[Text, ...], Meta(max_length=16)] = ()
    """Applications that may not be interrupted now, each in words."""


class DeviceState(Document, frozen=True, kw_only=True):
    """What a device is and runs: retained, asserted again after each connection and each change."""

    device: DeviceId
    session: Count
    """Counts connections; the last will carries the same number, so a stale one is seen to be stale."""
    boot: Label
    """The kernel's boot id."""
    at_s: Moment
    agent_version: Label
    region: RegionName | None = None
    tags: Annotated[tuple[Label, ...], Meta(max_length=32)] = ()
    assignment_number: Count = 0
    hardware: Hardware | None = None
    trust: dict[Label, Count] = {}
    """Versions of the metadata that it has verified, by role."""
    trust_problem: Text | None = None
    rollout_serial: Count = 0
    models: Annotated[tuple[ModelState, ...], Meta(max_length=64)] = ()
    bytes_received: Count = 0
    """Of chunks, since the agent was installed."""
    limits_held: dict[Label, Text] = {}
    """Which limits on workers really hold here, and how: `memory: rlimit`, `network: namespace`."""
    certificate: Annotated[str, Meta(max_length=8000)] = ""
    """PEM, of the key that signed the envelope around this; empty where nothing is signed."""
    machine: Label = ""
    """The board's serial number, as its firmware says; empty where it says none."""
    boots: Count = 0
    """Starts of the agent that this state folder remembers."""
    starts: Annotated[tuple[Label, ...], Meta(max_length=MAX_STARTS)] = ()
    """A nonce for each of the last starts of the agent, the newest last, durable before it is told. Of two copies of a
    state folder each adds its own, so both cannot go on from what the server knows."""
    number: Count = 0
    """Counts what was told since this start, from 1."""
    command_epoch: Label = ""
    """A nonce that was drawn when the counter of commands began; only commands that name it are obeyed."""
    command_number: Count = 0
    """The last command of this epoch."""


class Presence(Document, frozen=True, kw_only=True):
    """Whether a device is connected. Retained; the last will is the same with `online` false."""

    device: DeviceId
    session: Count
    online: bool


class Event(Document, frozen=True, kw_only=True):
    """Something that happened on a device, once. (device, boot, number) names it."""

    device: DeviceId
    boot: Label
    number: Count
    at_s: Moment
    kind: Label
    """A noun of the domain: `trial-failed`, `activated`, `proven`, `fell-back`, `refused`, `no-space`."""
    text: Text
    model: Label | None = None
    release: Label | None = None
    variant: Label | None = None
    facts: dict[Label, Text] = {}


class Need(Document, frozen=True, kw_only=True):
    """Chunks, targets or metadata that did not come although they were asked of the broker."""

    device: DeviceId
    chunks: Annotated[tuple[Sha256, ...], Meta(max_length=256)] = ()
    targets: Annotated[tuple[Sha256, ...], Meta(max_length=64)] = ()
    metadata: Annotated[tuple[Label, ...], Meta(max_length=64)] = ()


class Command(Document, frozen=True, kw_only=True):
    """A signed, numbered, short-lived order to one device. An agent that does not know the action says so."""

    device: DeviceId
    number: Count
    """Higher than that of every command before in this epoch."""
    expires_s: Moment
    """At most MAX_COMMAND_S after it was signed."""
    action: Label
    arguments: dict[Label, Text] = {}
    epoch: Label = ""
    """The `command_epoch` that the device told."""
    session: Count = 0
    """The device's connection for which it is meant. A device without a clock obeys it in no other."""


class Reply(Document, frozen=True, kw_only=True):
    """The answer to a command."""

    device: DeviceId
    number: Count
    ok: bool
    text: Text
    epoch: Label = ""
    facts: dict[Label, Text] = {}
    """More of the answer, by name: `explain`."""
    more: bool = False
    """The device is at it, and answers once more when it is done."""
    data: Annotated[bytes, Meta(max_length=MAX_PIECE_BYTES)] = b""
    """A piece of a long answer: UTF-8 text, compressed with zlib as a whole and then cut."""
    piece: Annotated[int, Meta(ge=0, lt=MAX_PIECES)] = 0
    pieces: Annotated[int, Meta(ge=1, le=MAX_PIECES)] = 1
    """How many there are. Each piece repeats `ok` and `text`."""
