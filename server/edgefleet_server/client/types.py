"""What the API answers, as types. The client decodes into them, and the server's OpenAPI description is made from them.

Unknown fields are ignored and missing ones have defaults, so a client works with servers that are older or newer.
Times are seconds since 1970 (`_s`), sizes are bytes; what a device lacks is None and never zero.
"""

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all."""


class Page(Answer, Generic[T], frozen=True, kw_only=True):
    """A part of a list. `next` goes into `after` of the next request; None at the end."""

    items: tuple[T, ...]
    next: str | None = None


class Problem(Answer, frozen=True, kw_only=True):
    """Why it was not done (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    next: str | None = None
    """What to do about it."""


class Health(Answer, frozen=True, kw_only=True):
    """Whether the server can do its work now."""

    version: str
    fleet: str
    now_s: float
    broker_connected: bool
    broker: dict[str, Any] = {}
    counters: dict[str, int] = {}
    """Only for whoever has rights in every region."""
    last_reasons: dict[str, Any] = {}
    role: str = "server"
    """`replica`: a process that answers beside the server, and has neither keys nor a broker of its own."""
    server: dict[str, Any] = {}
    """Of a replica: whether the server is `here`, `why` not, and its `address`."""
    processes: list[dict[str, Any]] = []
    """All over this database, with PostgreSQL; only for whoever has rights in every region."""


class Measured(Answer, frozen=True, kw_only=True):
    """What a trial measured on the device."""

    release: str
    variant: str
    latency_p50_s: float
    latency_p95_s: float
    memory_bytes: int | None = None


class Failure(Answer, frozen=True, kw_only=True):
    """What failed on the device, and is not tried again."""

    release: str
    variant: str
    stage: str
    reason: str
    at_s: float = 0.0
    release_sha256: str = ""


class DeviceModel(Answer, frozen=True, kw_only=True):
    """One model on one device: what runs, what is wanted, and why."""

    model: str
    phase: str = "idle"
    why: str = ""
    wanted: str | None = None
    release: str | None = None
    variant: str | None = None
    variant_sha256: str | None = None
    since_s: float | None = None
    proven: bool = False
    previous: str | None = None
    chosen: str | None = None
    chosen_why: str | None = None
    failures: tuple[Failure, ...] = ()
    measured: tuple[Measured, ...] = ()
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    memory_bytes: int | None = None
    window_at_s: float | None = None


class Device(Answer, frozen=True, kw_only=True):
    """A device as it is listed."""

    id: str
    region: str | None = None
    tags: tuple[str, ...] = ()
    online: bool = False
    last_seen_s: float | None = None
    first_seen_s: float | None = None
    session: int = 0
    hardware_class: str | None = None
    board: str | None = None
    arch: str | None = None
    memory_total_bytes: int | None = None
    agent_version: str | None = None
    assigned_number: int = 0
    assignment_number: int = 0
    rollout_serial: int | None = None
    trust: dict[str, int] = {}
    trust_problem: str | None = None
    trust_behind_s: float | None = None
    frozen: bool = False
    machine: str = ""
    signed_by: str = ""
    alarm: dict[str, Any] | None = None
    """Two copies of it speak in turn: it is in quarantine."""
    bytes_received: int = 0
    limits_held: dict[str, str] = {}
    models: tuple[DeviceModel, ...] = ()
    temperature_c: float | None = None
    cpu_percent: float | None = None
    battery_percent: float | None = None
    battery_charging: bool | None = None
    power_w: float | None = None
    power_source: str | None = None
    """`mains`, `battery`, or None of a device that reported nothing."""
    throttled: tuple[str, ...] | None = None
    memory_available_bytes: int | None = None
    agent_memory_bytes: int | None = None


class DeviceDetail(Device, frozen=True, kw_only=True):
    """One device with all that it said."""

    starts: tuple[dict[str, Any], ...] = ()
    document: dict[str, Any] | None = None
    """Its state, as it signed it."""
    dropped_windows: int = 0


class Point(Answer, frozen=True, kw_only=True):
    """A stretch of a latency curve, of one variant of one release."""

    at_s: float
    release: str
    variant: str
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    requests: int = 0
    errors: int = 0
    memory_bytes: int | None = None


class Curve(Answer, frozen=True, kw_only=True):
    """A model's latency over time."""

    model: str
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    requests: int = 0
    errors: int = 0
    points: tuple[Point, ...] = ()


class Latency(Answer, frozen=True, kw_only=True):
    """A device's latency over time."""

    device: str
    now_s: float
    last_s: float
    models: tuple[Curve, ...] = ()


class Command(Answer, frozen=True, kw_only=True):
    """A command to a device and its answer."""

    id: int
    device: str
    action: str
    status: str
    """`waiting`, `done`, `failed`, or `expired` without an answer."""
    arguments: dict[str, str] = {}
    epoch: str = ""
    number: int = 0
    actor: str = ""
    sent_s: float = 0.0
    expires_s: float = 0.0
    replied_s: float | None = None
    ok: bool | None = None
    text: str | None = None
    facts: dict[str, str] = {}


class Assigned(Answer, frozen=True, kw_only=True):
    """Where a device belongs from now on."""

    device: str
    number: int
    region: str
    broker_connected: bool
    """False: it is signed and stored, and goes out as soon as the broker is back."""
    tags: tuple[str, ...] = ()


class Forgotten(Answer, frozen=True, kw_only=True):
    """The device is gone."""

    device: str
    broker_connected: bool


class Step(Answer, frozen=True, kw_only=True):
    """One step of cutting a device off; `done` is None where it was not to be done."""

    name: str
    words: str
    done: bool | None = None


class Revoked(Answer, frozen=True, kw_only=True):
    """How far a device is cut off."""

    device: str
    done: bool
    steps: tuple[Step, ...] = ()


class Stage(Answer, frozen=True, kw_only=True):
    """One stage and its gate."""

    percent: float | None = None
    state: str = ""
    """`open`, `to come`, `passed`, `failed` or `ended`."""
    max_failed_percent: float | None = None
    min_proven_percent: float | None = None


class Counts(Answer, frozen=True, kw_only=True):
    """Devices by what they are to a rollout; None where it is past."""

    proven: int | None = None
    failed: int | None = None
    under_way: int | None = None
    apart: int | None = None
    outside: int | None = None


class Evidence(Answer, frozen=True, kw_only=True):
    """One device, what it is to the rollout, and why."""

    device: str
    standing: str
    why: str = ""


class Move(Answer, frozen=True, kw_only=True):
    """One move of a rollout."""

    at_s: float
    kind: str
    stage: int
    why: str = ""


class Rollout(Answer, frozen=True, kw_only=True):
    """A release on its way through one region."""

    id: int
    region: str
    model: str
    release: str
    status: str
    """`running`, `paused`, `complete`, `gone-back` or `superseded`."""
    why: str = ""
    stage: int = 0
    previous: str | None = None
    stages: tuple[Stage, ...] = ()
    counts: Counts = Counts()
    evidence: tuple[Evidence, ...] = ()
    policy: dict[str, Any] = {}
    started_s: float = 0.0
    stage_opened_s: float = 0.0
    updated_s: float = 0.0
    moves: tuple[Move, ...] = ()


class LeftOut(Answer, frozen=True, kw_only=True):
    """A device that would not run the release."""

    device: str
    why: str = ""


class RegionPlan(Answer, frozen=True, kw_only=True):
    """What a rollout would do in one region."""

    region: str
    release: str
    matched: int = 0
    stages: tuple[Any, ...] = ()
    devices: tuple[dict[str, Any], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    wire_bytes: int = 0
    refused: str | None = None
    breaks: str | None = None
    interface_changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What else to know, in words: a rollout that is cut short, a share that was made wider."""
    digest: str = ""


class Plan(Answer, frozen=True, kw_only=True):
    """What a rollout would do."""

    regions: tuple[RegionPlan, ...]
    digest: str = ""
    """Of all of it: what is started with it is what was planned."""


class Started(Answer, frozen=True, kw_only=True):
    """What was started."""

    regions: tuple[RegionPlan, ...]
    broker_connected: bool


class Event(Answer, frozen=True, kw_only=True):
    """What happened on a device."""

    device: str
    at_s: float
    received_s: float
    kind: str
    text: str = ""
    model: str | None = None
    release: str | None = None
    variant: str | None = None
    facts: dict[str, str] = {}
    boot: str = ""
    number: int = 0


class Variant(Answer, frozen=True, kw_only=True):
    """A variant of a release."""

    name: str
    accuracy: float | None = None
    metric: str | None = None
    bytes: int = 0
    wire_bytes: int = 0
    memory_bytes: int | None = None
    recipe: Any = None


class Release(Answer, frozen=True, kw_only=True):
    """A listed release."""

    release: str
    sha256: str
    seen_s: float | None = None
    notes: str | None = None
    original_accuracy: float | None = None
    variants: tuple[Variant, ...] = ()


class Deed(Answer, frozen=True, kw_only=True):
    """Who did what, or was refused it."""

    id: int
    at_s: float
    actor: str
    action: str
    subject: str = ""
    outcome: str = ""
    region: str | None = None


class Alert(Answer, frozen=True, kw_only=True):
    """What needs a person."""

    id: int
    status: str
    """`open`, `acknowledged`, `silenced` or `resolved`."""
    rule: str
    severity: str
    text: str
    region: str | None = None
    """None is the whole fleet."""
    cause: str = ""
    evidence: str = ""
    """The path that shows it."""
    next: str = ""
    count: int = 0
    examples: tuple[str, ...] = ()
    since_s: float | None = None
    opened_s: float | None = None
    resolved_s: float | None = None
    acknowledged_s: float | None = None
    acknowledged_by: str | None = None
    silenced_until_s: float | None = None
    silenced_by: str | None = None
    subjects: tuple[str, ...] = ()
    """All of them, where one alert is asked for."""


class RegionCount(Answer, frozen=True, kw_only=True):
    """Devices of one region (None: of none yet)."""

    region: str | None = None
    devices: int = 0
    online: int = 0
    failing: int = 0
    quarantined: int = 0


class Overview(Answer, frozen=True, kw_only=True):
    """The fleet at a glance."""

    fleet: str
    version: str
    now_s: float
    broker_connected: bool
    regions: tuple[str, ...] = ()
    counts: dict[str, Any] = {}
    devices: tuple[Device, ...] = ()
    """At most the first 200."""
    rollouts: tuple[Rollout, ...] = ()
    events: tuple[Event, ...] = ()
    refused: int = 0


class Live(Answer, frozen=True, kw_only=True):
    """One message of /api/v1/live."""

    event: str
    data: Any = None
    id: str | None = None
