"""May the device do more than serve, now? Pure rules about battery, heat and disk, each answering in words."""

from dataclasses import dataclass, replace

from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import DeviceWindow

NO_SPACE = "no-space"
"""The event of a full disk: told once for each wish, however it was noticed."""
LOOK_AGAIN_S = 60.0
"""How often a condition that does not hold is looked at again."""
DISK_AGAIN_S = 5.0
"""The same for free space, which costs nothing to ask for and which somebody may be freeing right now."""
FREED_BYTES = 65_536
"""So much more than when a write was refused is space again; less is the breathing of a log file."""


@dataclass(frozen=True)
class Surroundings:
    """How the device is. What it lacks is None, and then the rule about it does not apply."""

    device: DeviceWindow
    storage_free_bytes: int
    memory_available_bytes: int | None
    reserve_bytes: int
    """Left free on the disk, for the system and for what the agent itself must write."""
    memory_pressure_percent: float | None = None
    """Share of the last ten seconds in which some task waited for memory."""
    interface: str | None = None
    """The network interface of the way out."""
    metered: bool = False
    """Whether the owner calls it metered."""


@dataclass(frozen=True)
class Hold:
    """The disk refused a write: nothing new is begun until a time (monotonic seconds), or until space was freed."""

    why: str
    until: float
    full: bool = False
    """Whether more space would help."""
    free_bytes: int | None = None
    """The least that was free since."""

    def after(self, free_bytes: int, now: float) -> "Hold | None":
        """Return what is left of it when so much is free; None when it is over."""
        if now >= self.until or (self.free_bytes is not None and free_bytes >= self.free_bytes + FREED_BYTES):
            return None
        if not self.full:
            return self
        return replace(self, free_bytes=min(free_bytes, free_bytes if self.free_bytes is None else self.free_bytes))


def too_low_battery(around: Surroundings, policy: Policy) -> str | None:
    """A device on its battery, below the floor, neither fetches nor tries."""
    charge, floor = around.device.battery_percent, policy.battery_floor_percent
    if charge is None or floor is None or around.device.battery_charging or charge >= floor:
        return None
    return f"the battery is at {charge:.0f} % and the region asks for {floor:g} % before anything new"


def too_hot(around: Surroundings, policy: Policy) -> str | None:
    """A hot device is not heated further by a download or a trial."""
    degrees, limit = around.device.temperature_c, policy.max_temperature_c
    if degrees is None or limit is None or degrees <= limit:
        return None
    return f"it is {degrees:.0f} °C here and the region allows {limit:g} °C"


def too_little_disk(around: Surroundings, need_bytes: int) -> str | None:
    """Asked before anything is fetched: active and previous are never removed to make room."""
    need = need_bytes + around.reserve_bytes
    if need <= around.storage_free_bytes:
        return None
    return (
        f"no space: {need / 1e6:.1f} MB are needed, {around.reserve_bytes / 1e6:.1f} of them as a reserve, and "
        f"{around.storage_free_bytes / 1e6:.1f} MB are free"
    )


def not_now(around: Surroundings, policy: Policy) -> str | None:
    """Return the first reason why nothing new is begun, or None."""
    return too_low_battery(around, policy) or too_hot(around, policy)
