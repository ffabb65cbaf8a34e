"""What a device measured, window by window. What a device lacks is None and never zero."""

from typing import Annotated

from msgspec import Meta

from .codec import Document, Moment, Record
from .names import DeviceId, ModelName, Sha256, VariantName
from .sketch import Sketch

Count = Annotated[int, Meta(ge=0, le=2**53)]
Label = Annotated[str, Meta(max_length=128)]

MAX_BATCH_BYTES = 60_000
"""As everything else on the wire: below what every broker in use can carry."""
MAX_WINDOWS = 64
BATCH_WINDOWS, BATCH_WITHIN_S = 5, 300.0
"""So many windows go out together, or what there is once the oldest began so long ago. By one, a window of a minute costs three times
as much on the wire: a message has its own envelope, and compression little to work on."""
WATCHED_BELOW_S = 60.0
"""A region that asks for shorter windows watches, and gets each at once."""


def held_back_s(interval_s: float) -> float:
    """Return for how long a device in good order may keep a window of so many seconds after it began."""
    return (
        interval_s if interval_s < WATCHED_BELOW_S else max(interval_s, min(BATCH_WITHIN_S, BATCH_WINDOWS * interval_s))
    )


class ModelWindow(Record, frozen=True, kw_only=True):
    """One model's requests in one window."""

    model: ModelName
    release: Label
    release_sha256: Sha256
    variant: VariantName
    requests: Count = 0
    errors: Count = 0
    latency: Sketch = Sketch()
    """Seconds in the worker for one request: from the last byte read to the answer ready."""
    confidence: Sketch | None = None
    """Of the largest output, where the task has one: for drift."""
    memory_bytes: Count | None = None
    """Proportional set size of the worker."""


class InterfaceWindow(Record, frozen=True, kw_only=True):
    """What went over one network interface in the window."""

    name: Label
    received_bytes: Count = 0
    sent_bytes: Count = 0
    signal_dbm: float | None = None
    """Of a Wi-Fi at the end of the window."""


class DeviceWindow(Record, frozen=True, kw_only=True):
    """What the device itself was like, at the end of the window."""

    cpu_percent: float | None = None
    memory_available_bytes: Count | None = None
    storage_free_bytes: Count | None = None
    temperature_c: float | None = None
    throttled: Annotated[tuple[Label, ...], Meta(max_length=16)] | None = None
    """Reasons why the clock is held back now: `under-voltage`, `capped`, `throttled`, `soft-limit`."""
    power_w: float | None = None
    battery_percent: float | None = None
    battery_charging: bool | None = None
    agent_memory_bytes: Count | None = None
    throttled_s: Annotated[dict[Label, float], Meta(max_length=16)] | None = None
    """Seconds of the window for which each reason of `throttled` held, where any did; empty when none."""
    power_source: Label | None = None
    """Where `power_w` comes from: `ina3221`, `pmic`. Figures of two sources are never compared."""
    energy_j: float | None = None
    """Drawn in `energy_s` seconds of the window: as long as the sensor was read without a gap."""
    energy_s: float | None = None
    idle_w: float | None = None
    """Drawn at rest, known once windows without requests were seen: (energy_j - idle_w * energy_s) / requests is marginal."""
    storage_written_bytes: Count | None = None
    """To the device that holds the agent's state, by everybody, in the window."""
    storage_wear_percent: float | None = None
    """Of its life that an eMMC says is used, in tens."""
    network: Annotated[tuple[InterfaceWindow, ...], Meta(max_length=16)] | None = None


class Window(Record, frozen=True, kw_only=True):
    """A stretch of time. (boot, started_monotonic_s) orders windows where the clock was wrong."""

    start_s: Moment
    """Seconds since 1970 by the device's clock."""
    seconds: Annotated[float, Meta(gt=0, le=86400)]
    boot: Label
    started_monotonic_s: Annotated[float, Meta(ge=0, le=1e12)]
    clock_trusted: bool = True
    device: DeviceWindow = DeviceWindow()
    models: Annotated[tuple[ModelWindow, ...], Meta(max_length=64)] = ()


class TelemetryBatch(Document, frozen=True, kw_only=True):
    """Windows of one device in one message, compressed with zlib on the wire.

    (device, boot, started_monotonic_s) names a window: the server counts one that comes twice once.
    """

    device: DeviceId
    windows: Annotated[tuple[Window, ...], Meta(min_length=1, max_length=MAX_WINDOWS)]
    dropped_windows: Count = 0
    """Windows that the outbox merged or dropped since the agent was installed."""
