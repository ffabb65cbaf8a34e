"""What the rules look at: one moment of the fleet, as plain values. None is what nobody measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DeviceFacts:
    """One device as it was last heard of."""

    id: str
    region: str | None
    last_heard_s: float | None
    """None: it was assigned and never spoke, which is no silence."""
    temperature_c: float | None = None
    throttled: tuple[str, ...] = ()
    battery_percent: float | None = None
    battery_charging: bool | None = None
    battery_per_hour: float | None = None
    """Percent points an hour over the last hours; negative while it empties."""
    storage_free_bytes: int | None = None
    storage_wear_percent: float | None = None
    """Of the life that its maker gave the storage; no agent of this version says it."""
    trust_problem: str | None = None
    cloned: str | None = None
    """Why two copies of it are believed to speak, or None."""
    certificate_ends_s: float | None = None


@dataclass(frozen=True)
class GroupFacts:
    """One variant of one release in one region, over the last minutes."""

    region: str
    model: str
    release: str
    variant: str
    requests: int = 0
    p95_s: float | None = None
    psi: float | None = None
    """How far its answers have drifted from its own first good day. Of a group that says so, `requests` are the answers that
    were compared."""
    psi_limit: float = 0.1
    """What of it may be noise, by how much was counted."""


@dataclass(frozen=True)
class RolloutFacts:
    """One rollout that was not superseded."""

    region: str
    model: str
    release: str
    status: str
    why: str
    late_failures: tuple[tuple[str, str], ...] = ()
    """(device, what failed there) of those on which a release failed whose rollout is complete."""


@dataclass(frozen=True)
class GoneFacts:
    """A device that was decommissioned, and spoke all the same."""

    id: str
    region: str | None
    by: str
    spoke_s: float
    kind: str


@dataclass(frozen=True)
class Expiry:
    """A signed document that ends."""

    name: str
    ends_s: float
    next_step: str


@dataclass(frozen=True)
class AlertFacts:
    """One moment."""

    devices: tuple[DeviceFacts, ...] = ()
    groups: tuple[GroupFacts, ...] = ()
    rollouts: tuple[RolloutFacts, ...] = ()
    expiries: tuple[Expiry, ...] = ()
    gone: tuple[GoneFacts, ...] = ()
    refused: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    """By counter: how many were refused lately, and the last reason."""
    broker_connected: bool = True
    listening_since_s: float = 0.0
    """Since when the server has heard the broker without a break: silence from before it counts for nothing."""
