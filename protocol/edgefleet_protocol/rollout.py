"""What a region should run: one signed document per region, and which device belongs where."""

from typing import Annotated, Literal

from msgspec import Meta

from .codec import Document, Record, Time
from .names import DeviceId, ModelName, RegionName, Sha256, TagName, VariantName

Objective = Literal["accuracy", "latency", "memory", "energy", "download"]
Percent = Annotated[float, Meta(ge=0, le=100)]
Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[Day, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
"""In the order of `datetime.weekday()`."""
TimeOfDay = Annotated[str, Meta(pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]\Z")]
"""`22:30`, by the region's clock on the wall."""
Seconds = Annotated[float, Meta(ge=0, le=86400 * 365)]
InterfacePattern = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.@-]{1,31}\*?\Z")]
"""A network interface, `eth0`, or the beginning of its name, `wwan*`."""

FrozenWords = Annotated[str, Meta(max_length=300)]


class OpenHours(Record, frozen=True, kw_only=True):
    """When a switch may be made, in local time. An end at or before the start is on the next day."""

    start: TimeOfDay
    end: TimeOfDay
    days: Annotated[tuple[Day, ...], Meta(max_length=7)] = ()
    """On which it starts; none named means every day."""


class Governor(Record, frozen=True, kw_only=True):
    """When a device steps down to a cheaper signed variant of the same release. A limit of None is no reason to.

    It climbs back when every reason has been over, by its margin, for `climb_after_s`.
    """

    max_temperature_c: float | None = None
    temperature_margin_c: Annotated[float, Meta(ge=0, le=100)] = 8.0
    throttled: bool = False
    """Whether a clock that is held back (heat, under-voltage) is a reason."""
    battery_floor_percent: Percent | None = None
    battery_margin_percent: Percent = 10.0
    min_memory_available_bytes: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    memory_margin_bytes: Annotated[int, Meta(ge=0, le=2**53)] = 50_000_000
    max_memory_pressure_percent: Percent | None = None
    """Share of the last ten seconds in which some task waited for memory (`some avg10` of the kernel)."""
    after_s: Seconds = 30.0
    """How long a reason must last before a step down."""
    climb_after_s: Seconds = 300.0
    dwell_s: Seconds = 300.0
    """Least time between two moves, in either direction."""
    min_accuracy: float | None = None
    """No step goes below it; `Policy.min_accuracy` holds besides."""
    prefetch: bool = False
    """Whether the first variant to step down to is fetched and tried ahead, while nothing presses."""


class Policy(Record, frozen=True, kw_only=True):
    """A region's rules. A limit of None is no limit; a rollout may only narrow what the manifest bounds."""

    objective: Objective = "accuracy"
    objectives: dict[Annotated[str, Meta(max_length=64)], Objective] = {}
    """By hardware class, where it differs from `objective`."""
    latency_budget_s: float | None = None
    """Longest p95 of a served request. A variant predicted beyond it is not chosen; one measured beyond it goes back."""
    memory_budget_bytes: int | None = None
    download_budget_bytes: int | None = None
    min_accuracy: float | None = None
    bandwidth_bytes_per_s: int | None = None
    """Ceiling for fetching chunks."""
    battery_floor_percent: Percent | None = None
    """Below it nothing is fetched or tried, on a device that has a battery and is not charging."""
    max_temperature_c: float | None = None
    telemetry_interval_s: Annotated[float, Meta(ge=1, le=86400)] = 60.0
    timezone: Annotated[str, Meta(max_length=64)] | None = None
    """Whose clock `windows` are read by, as in `Europe/Berlin`; None means each device's own."""
    windows: Annotated[tuple[OpenHours, ...], Meta(max_length=32)] = ()
    """When something new may be tried and take over; none means at any time. What serves is never touched by it."""
    download: Literal["any-time", "in-window"] = "any-time"
    """Whether chunks may come before the window opens, so that it is used for the switch alone."""
    metered: Literal["wait", "allow"] = "wait"
    """What is done about chunks while the way out is an interface that the device's owner calls metered."""
    interfaces: Annotated[tuple[InterfacePattern, ...], Meta(max_length=16)] = ()
    """Over which chunks may come; none named means any."""
    disk_reserve_bytes: Annotated[int, Meta(ge=0, le=2**53)] | None = None
    """Left free on the disk, where it is more than the device's own reserve."""
    lease_deadline_s: Seconds = 900.0
    """How long a switch waits for applications that hold a lease; then it is made all the same."""
    quarantine_after: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Releases of one model that hurt real requests here, one after the other, before nothing new is taken for a while."""
    quarantine_s: Seconds = 86400.0
    governor: Governor | None = None
    telemetry_fields: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=32)] = ()
    """Groups of measurements that may leave the device, by the names of `leaving.GROUPS`; none named means all."""

    def objective_for(self, hardware_class: str) -> Objective:
        """Return what a device of this class should be best at."""
        return self.objectives.get(hardware_class, self.objective)


class Probation(Record, frozen=True, kw_only=True):
    """How long, and by how many requests, a model is watched after it took over."""

    seconds: Annotated[float, Meta(ge=0, le=86400 * 30)] = 600.0
    min_requests: Annotated[int, Meta(ge=0, le=10**9)] = 20
    """With fewer requests its latency is not judged; time alone then proves it."""
    max_error_percent: Percent = 1.0


class Audience(Record, frozen=True, kw_only=True):
    """Whom an assignment is for. Empty means everyone."""

    tags: Annotated[tuple[TagName, ...], Meta(max_length=32)] = ()
    """All of these."""
    hardware: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = ()
    """Any of these hardware classes."""


class NotWorse(Record, frozen=True, kw_only=True):
    """How much worse than the model before a model may be, on the same devices. A margin of None is not looked at."""

    latency_percent: Annotated[float, Meta(ge=0, le=10000)] | None = 5.0
    error_points: Percent | None = 0.5
    """Percent points of requests that end in an error."""
    confidence_psi: Annotated[float, Meta(ge=0, le=10)] | None = None
    """How far the spread of its confidence may move, as a population stability index."""
    agreement_percent: Percent | None = None
    """Of the golden inputs, how many it must answer as the model before does, at least."""
    agreement_live_percent: Percent | None = None
    """Of live answers, how many may be as sure as those of the model before were, at least: what the spreads of confidence share."""
    memory_percent: Annotated[float, Meta(ge=0, le=10000)] | None = None
    energy_percent: Annotated[float, Meta(ge=0, le=10000)] | None = None
    alpha: Annotated[float, Meta(ge=1e-6, le=0.5)] = 0.05
    """How often a release that keeps every margin may be stopped all the same, over the whole rollout."""
    min_devices: Annotated[int, Meta(ge=2, le=10000)] = 3
    """Fewer devices are too little evidence, whatever they measured."""
    max_devices: Annotated[int, Meta(ge=2, le=10000)] = 200
    """So many are compared; more would cost the server and say little that is new."""
    min_requests: Annotated[int, Meta(ge=1, le=10**6)] = 100
    """On each side, before a device is compared."""
    warm_up_s: Annotated[float, Meta(ge=0, le=86400)] = 60.0
    """Left out after the switch."""
    on_worse: Literal["go-back", "pause"] = "go-back"
    wait_s: Annotated[float, Meta(ge=0, le=86400 * 30)] = 3600.0
    """How long a stage may wait for a verdict."""
    too_little: Literal["pause", "go-on"] = "pause"
    """What is done when that was not long enough."""


class Gate(Record, frozen=True, kw_only=True):
    """What must hold before the next stage."""

    max_failed_percent: Percent = 0.0
    """Of the devices in this stage that reached an end. More than this stops the rollout."""
    min_proven_percent: Percent = 100.0
    """Of the devices in this stage that can still prove it."""
    max_failed: Annotated[int, Meta(ge=0, le=10**7)] | None = None
    """More devices than this stop the rollout, whatever share they are."""
    min_proven: Annotated[int, Meta(ge=0, le=10**7)] = 0
    """At least so many devices, whatever share they are."""
    min_ended: Annotated[int, Meta(ge=0, le=10**7)] = 0
    """The share of failures is judged once so many devices came to an end."""
    not_worse: NotWorse | None = None
    """The model against the one before on the same devices; None compares nothing."""


class Stage(Record, frozen=True, kw_only=True):
    """Devices that one step lets in, beside those of the stages before it.

    A device is in it whose stable number is below `percent` and that has the tags and hardware, or whose name is listed.
    """

    percent: Percent
    gate: Gate = Gate()
    tags: Annotated[tuple[TagName, ...], Meta(max_length=32)] = ()
    """All of these."""
    hardware: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = ()
    """Any of these hardware classes."""
    devices: Annotated[tuple[DeviceId, ...], Meta(max_length=500)] = ()
    """By name, whatever their number; still of the audience."""
    approval: bool = False
    """Whether a person must say yes before it opens."""
    soak_s: Annotated[float, Meta(ge=0, le=86400 * 30)] = 0.0
    """How long its devices are judged on once its gate is open, before the next stage. Devices need not care."""


class ReleaseRef(Record, frozen=True, kw_only=True):
    """A release, named by the path under which the offline hand listed it and by its digest; both must agree."""

    path: Annotated[str, Meta(max_length=200)]
    sha256: Sha256


class ClassRow(Record, frozen=True, kw_only=True):
    """What devices of one hardware class measured of one variant. It comes after what a device measured itself, before a guess."""

    variant: VariantName
    hardware_class: Annotated[str, Meta(max_length=64)]
    p50_s: Annotated[float, Meta(gt=0, le=1e6)]
    """Seconds for one inference in a trial, the median of the devices."""
    devices: Annotated[int, Meta(ge=1, le=10**9)] = 1


class Assignment(Record, frozen=True, kw_only=True):
    """A release of a model for an audience. Of several for one model, the first that admits a device is its wish."""

    model: ModelName
    release: ReleaseRef
    audience: Audience = Audience()
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1, max_length=32)] = (Stage(percent=100.0),)
    stage: Annotated[int, Meta(ge=0, le=31)] = 0
    """The stage that is open now."""
    probation: Probation = Probation()
    deadline_s: Annotated[float, Meta(ge=1, le=86400 * 365)] = 86400.0
    """A device that has not proven it this long after it first saw it counts as failed."""
    accept_interface_change: bool = False
    """Whether a release may take over whose interface differs from the one that runs: applications must know of it."""
    opened_percent: Percent | None = None
    """Of the open stage only devices whose stable number is below this were let in yet: a large stage opens in waves."""
    joined_before: Time | None = None
    """Devices that joined their region at or after this moment are not meant; one that was not told when it joined is."""
    max_under_way: Annotated[int, Meta(ge=1, le=10**7)] | None = None
    """How many devices may be let in and not yet run it; None: as the server thinks best. Devices need not care."""

    measured: Annotated[tuple[ClassRow, ...], Meta(max_length=128)] = ()
    """The class table: the manifest says what was known when it was signed, and never changes."""

    @property
    def percent(self) -> float:
        """The share of the audience that is admitted now."""
        return self.stages[min(self.stage, len(self.stages) - 1)].percent


class Rollout(Document, frozen=True, kw_only=True):
    """What one region should run now. The newest signed one is the whole wish."""

    region: RegionName
    serial: Annotated[int, Meta(ge=0, le=2**53)]
    issued: Time
    policy: Policy = Policy()
    assignments: Annotated[tuple[Assignment, ...], Meta(max_length=64)] = ()
    frozen: FrozenWords = ""
    """Who froze the whole region, and why: nothing new begins on its devices, and what serves goes on. Empty: nobody."""


class DeviceAssignment(Document, frozen=True, kw_only=True):
    """Where a device belongs: signed, numbered, retained. The device keeps the one with the highest number."""

    device: DeviceId
    number: Annotated[int, Meta(ge=1, le=2**53)]
    region: RegionName
    tags: Annotated[tuple[TagName, ...], Meta(max_length=32)] = ()
    issued: Time | None = None
    frozen: FrozenWords = ""
    """Who froze this device, and why; as in `Rollout`. Empty: nobody."""
    joined: Time | None = None
    """Since when it has belonged to this region."""
