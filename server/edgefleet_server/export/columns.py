"""What each kind of export has for columns, in their order, and of which type each is."""

from typing import Literal, NamedTuple

from ..telemetry.names import NAMES

What = Literal["windows", "rollups", "boards", "energy", "events"]
Type = Literal["text", "int", "float", "flag", "ints"]


class Column(NamedTuple):
    """One column."""

    ours: str
    type: Type

    @property
    def name(self) -> str:
        """As the file calls it."""
        return NAMES[self.ours][0]

    @property
    def unit(self) -> str:
        """By UCUM; '' where there is none."""
        return NAMES[self.ours][1]


_LATENCY = {
    "latency_p50_s": "float", "latency_p95_s": "float", "latency_p99_s": "float", "latency_scale": "int",
    "latency_zero": "int", "latency_offset": "int", "latency_counts": "ints",
}  # fmt: skip
_SPAN = {"start_s": "float", "seconds": "float"}
_MODEL = {"model": "text", "release": "text", "variant": "text"}

_TYPES: dict[What, dict[str, str]] = {
    "windows": {
        **_SPAN, "device": "text", "region": "text", **_MODEL, "requests": "int", "errors": "int", **_LATENCY,
        "memory_bytes": "int", "agent_memory_bytes": "int", "memory_available_bytes": "int", "storage_free_bytes": "int",
        "cpu": "float", "temperature_c": "float", "battery": "float", "battery_charging": "flag", "power_w": "float",
        "power_source": "text", "throttled": "text",
    },
    "rollups": {
        **_SPAN, "region": "text", **_MODEL, "hardware_class": "text", "devices": "int", "windows": "int", "requests": "int",
        "errors": "int", **_LATENCY, "memory_mean_bytes": "float", "memory_max_bytes": "int",
    },
    "boards": {
        **_SPAN, "region": "text", "hardware_class": "text", "devices": "int", "windows": "int", "cpu_mean": "float",
        "temperature_mean_c": "float", "temperature_max_c": "float", "battery_mean": "float", "battery_least": "float",
        "throttled_share": "float",
    },
    "energy": {
        **_SPAN, "region": "text", "hardware_class": "text", "power_source": "text", "energy_j": "float",
        "energy_seconds": "float", "requests": "int",
    },
    "events": {
        "at_s": "float", "received_s": "float", "device": "text", "region": "text", "kind": "text", "text": "text", **_MODEL,
    },
}  # fmt: skip

COLUMNS: dict[What, tuple[Column, ...]] = {
    what: tuple(Column(ours, kind) for ours, kind in rows.items())  # type: ignore[arg-type]
    for what, rows in _TYPES.items()
}
