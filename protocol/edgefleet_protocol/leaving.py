"""Which measurements may leave a device, and a region: windows with everything else taken out of them. Pure.

Groups are what people decide about. A field that belongs to no group leaves only where everything may, so that a later version
does not tell what nobody decided about. Counts of requests and errors always leave: without them no rollout could be judged.
"""

from collections.abc import Collection, Mapping
from typing import TypeVar

import msgspec

from .telemetry import DeviceWindow, ModelWindow, Window

S = TypeVar("S", DeviceWindow, ModelWindow)

GROUPS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("device.cpu_percent",),
    "memory": ("device.memory_available_bytes", "device.agent_memory_bytes", "model.memory_bytes"),
    "storage": ("device.storage_free_bytes", "device.storage_written_bytes", "device.storage_wear_percent"),
    "heat": ("device.temperature_c", "device.throttled", "device.throttled_s"),
    "power": ("device.power_w", "device.power_source", "device.energy_j", "device.energy_s", "device.idle_w"),
    "network": ("device.network",),
    "battery": ("device.battery_percent", "device.battery_charging"),
    "latency": ("model.latency",),
    "confidence": ("model.confidence",),
    "none": (),
}
"""Fields by group. `none` alone lets nothing leave but the counts."""

ALWAYS = frozenset(f"model.{name}" for name in ("model", "release", "release_sha256", "variant", "requests", "errors"))


def leaving(window: Window, groups: Collection[str]) -> Window:
    """Return `window` with only what is in `groups`; as it is when none are named, since that means all."""
    if not groups:
        return window
    fields = ALWAYS.union(*(GROUPS.get(group, ()) for group in groups))
    return msgspec.structs.replace(
        window,
        device=_only("device", window.device, fields),
        models=tuple(_only("model", row, fields) for row in window.models),
    )


def unknown(groups: Collection[str]) -> tuple[str, ...]:
    """Return those of `groups` that this version does not know."""
    return tuple(group for group in groups if group not in GROUPS)


def both(first: Collection[str], second: Collection[str]) -> tuple[str, ...]:
    """Return the groups that pass two rules, one after the other; empty is all on either side."""
    if not first or not second:
        return tuple(first or second)
    return tuple(group for group in first if group in second) or ("none",)


def _only(kind: str, row: S, fields: Collection[str]) -> S:
    kept = {name: getattr(row, name) for name in type(row).__struct_fields__ if f"{kind}.{name}" in fields}
    return type(row)(**kept)
