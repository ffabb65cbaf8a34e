"""What the API says of telemetry, as types. The keys stay; a client ignores those that it does not know.

Every percentile is one of merged histograms, never a mean of percentiles; None is what nobody measured. Series come by column,
all of one length: `at_s` is where a step begins. Times are seconds since 1970, sizes are bytes.
"""

from .types import Answer

Percentile = float | None


class Series(Answer, frozen=True, kw_only=True):
    """One model over time. Steps in which nothing came are left out."""

    at_s: list[int]
    requests: list[int]
    errors: list[int]
    p50_s: list[Percentile]
    p95_s: list[Percentile]
    p99_s: list[Percentile]


class DriftView(Answer, frozen=True, kw_only=True):
    """How far answers moved away from a reference."""

    psi: float | None
    """None while one side has fewer than 1000 answers, or while the first day is not over."""
    limit: float | None
    """What it must exceed to be more than chance, and never less than 0.1."""
    n: int
    reference_n: int
    reference_s: int | None = None
    """Where the day of reference begins; None: none yet."""
    alarm: bool = False


class GroupView(Answer, frozen=True, kw_only=True):
    """Everything that was counted of one group in the span. What it does not tell apart is ''."""

    model: str
    region: str = ""
    release: str = ""
    variant: str = ""
    hardware_class: str = ""
    devices: int = 0
    """About how many sent something: 3 % off, and nearly exact below a hundred."""
    windows: int = 0
    requests: int = 0
    errors: int = 0
    p50_s: Percentile = None
    p95_s: Percentile = None
    p99_s: Percentile = None
    memory_mean_bytes: float | None = None
    """Of the worker, as proportional set size."""
    memory_max_bytes: int | None = None
    drift: DriftView | None = None
    """Of the region's own variant against its own first day; only where a variant of one region is shown."""


class Measure(Answer, frozen=True, kw_only=True):
    """Of a measurement, over all windows that had it."""

    mean: float
    least: float
    most: float
    windows: int


class EnergyView(Answer, frozen=True, kw_only=True):
    """What one kind of sensor measured. Two sources are never added or compared: they measure different things."""

    source: str
    joules: float
    seconds: float
    requests: int
    watts: float
    joules_per_request: float | None


class Boards(Answer, frozen=True, kw_only=True):
    """What the devices themselves were like."""

    devices: int
    windows: int
    temperature_c: Measure | None
    cpu_percent: Measure | None
    battery_percent: Measure | None
    power_w: Measure | None
    memory_available_bytes: Measure | None
    storage_free_bytes: Measure | None
    agent_memory_bytes: Measure | None
    throttled_share: float | None
    """Of the windows that said whether the clock was held back, those in which it was."""
    throttled_reasons: dict[str, float]
    """The same by reason."""
    energy: list[EnergyView]


class BoardSeries(Answer, frozen=True, kw_only=True):
    """The same over time."""

    at_s: list[int]
    temperature_mean_c: list[float | None]
    temperature_max_c: list[float | None]
    battery_mean_percent: list[float | None]
    battery_least_percent: list[float | None]
    throttled_share: list[float | None]


class ModelView(Answer, frozen=True, kw_only=True):
    """One model: the whole span, and its steps."""

    whole: GroupView
    series: Series


class Span(Answer, frozen=True, kw_only=True):
    """Which stretch of time an answer is about: from_s <= t < to_s, in steps of step_s."""

    now_s: float
    from_s: int
    to_s: int
    step_s: int


class FleetTelemetry(Answer, frozen=True, kw_only=True):
    """GET /v1/telemetry/fleet."""

    span: Span
    models: list[ModelView]
    """The busiest first."""
    regions: list[GroupView]
    """By region and model."""
    boards: Boards
    board_series: BoardSeries


class RegionTelemetry(Answer, frozen=True, kw_only=True):
    """GET /v1/telemetry/regions/{region}."""

    region: str
    span: Span
    models: list[ModelView]
    variants: list[GroupView]
    """By release and variant, the busiest first, each with its drift."""
    boards: Boards
    board_series: BoardSeries


class ReleaseTelemetry(Answer, frozen=True, kw_only=True):
    """GET /v1/telemetry/releases/{model}/{number}."""

    release: str
    span: Span
    variants: list[ModelView]
    regions: list[GroupView]
    """By region and variant, each with its drift."""


class Side(Answer, frozen=True, kw_only=True):
    """One of the two that are compared."""

    whole: GroupView
    series: Series
    classes: list[GroupView]
    """By hardware class: two variants on different boards are not to be compared in the whole."""


class Comparison(Answer, frozen=True, kw_only=True):
    """GET /v1/telemetry/compare/{region}. Sides that were not named are the two busiest; none is None."""

    region: str
    span: Span
    a: Side | None
    b: Side | None
    between: DriftView | None
    """How far the answers of b are from those of a, in this span."""
    p95_ratio: float | None
    """b by a."""


class Run(Answer, frozen=True, kw_only=True):
    """What a device ran of a model, between the first and the last window of it in the span."""

    release: str
    variant: str
    from_s: float
    to_s: float


class DeviceModel(Answer, frozen=True, kw_only=True):
    """One model of one device. A step with two variants is two points."""

    whole: GroupView
    series: Series
    memory_bytes: list[int | None]
    """Of the worker, by point of the series."""
    run: list[int]
    """By point of the series, which of `runs`."""
    runs: list[Run]


class DeviceSeries(Answer, frozen=True, kw_only=True):
    """The device itself, by step."""

    at_s: list[int]
    temperature_c: list[float | None]
    """The highest."""
    battery_percent: list[float | None]
    """The last, as all below that do not say otherwise."""
    battery_charging: list[bool | None]
    cpu_percent: list[float | None]
    """The mean."""
    memory_available_bytes: list[int | None]
    """The least."""
    storage_free_bytes: list[int | None]
    agent_memory_bytes: list[int | None]
    power_w: list[float | None]
    """The mean."""
    power_source: list[str | None]
    throttled: list[list[str] | None]
    """Every reason in the step."""


class Mark(Answer, frozen=True, kw_only=True):
    """Something that happened to a model on the device: an update, a way back."""

    at_s: float
    kind: str
    text: str
    model: str | None
    release: str | None
    variant: str | None


class DeviceTelemetry(Answer, frozen=True, kw_only=True):
    """GET /v1/telemetry/devices/{device}."""

    device: str
    region: str | None
    span: Span
    models: list[DeviceModel]
    series: DeviceSeries
    energy: list[EnergyView]
    """By source."""
    marks: list[Mark]
