"""What our numbers are called in OpenTelemetry's semantic conventions, and in which unit; the export writes these names.

Those of `hw.*`, `process.*`, `system.*` and `device.*` have the status "development" there. For what no convention has a name,
ours begin with `edgefleet.`. The table in docs/reference/telemetry-names.md is made from this.
"""

NAMES: dict[str, tuple[str, str]] = {
    "start_s": ("time_unix_s", "s"),
    "seconds": ("edgefleet.window.duration", "s"),
    "device": ("device.id", ""),
    "region": ("edgefleet.region", ""),
    "hardware_class": ("edgefleet.hardware.class", ""),
    "model": ("edgefleet.model.name", ""),
    "release": ("edgefleet.model.release", ""),
    "variant": ("edgefleet.model.variant", ""),
    "devices": ("edgefleet.devices.seen", "{device}"),
    "windows": ("edgefleet.windows", "{window}"),
    "requests": ("edgefleet.inference.requests", "{request}"),
    "errors": ("edgefleet.inference.errors", "{request}"),
    "latency_p50_s": ("edgefleet.inference.duration.p50", "s"),
    "latency_p95_s": ("edgefleet.inference.duration.p95", "s"),
    "latency_p99_s": ("edgefleet.inference.duration.p99", "s"),
    "latency_scale": ("edgefleet.inference.duration.scale", ""),
    "latency_zero": ("edgefleet.inference.duration.zero_count", ""),
    "latency_offset": ("edgefleet.inference.duration.positive.offset", ""),
    "latency_counts": ("edgefleet.inference.duration.positive.bucket_counts", ""),
    "memory_bytes": ("process.memory.usage", "By"),
    "memory_mean_bytes": ("process.memory.usage.mean", "By"),
    "memory_max_bytes": ("process.memory.usage.max", "By"),
    "agent_memory_bytes": ("edgefleet.agent.memory.usage", "By"),
    "memory_available_bytes": ("system.memory.linux.available", "By"),
    "storage_free_bytes": ("edgefleet.storage.free", "By"),
    "cpu": ("system.cpu.utilization", "1"),
    "cpu_mean": ("system.cpu.utilization.mean", "1"),
    "temperature_c": ("hw.temperature", "Cel"),
    "temperature_mean_c": ("hw.temperature.mean", "Cel"),
    "temperature_max_c": ("hw.temperature.max", "Cel"),
    "battery": ("hw.battery.charge", "1"),
    "battery_mean": ("hw.battery.charge.mean", "1"),
    "battery_least": ("hw.battery.charge.min", "1"),
    "battery_charging": ("edgefleet.battery.charging", ""),
    "power_w": ("hw.host.power", "W"),
    "power_source": ("edgefleet.power.source", ""),
    "energy_j": ("hw.host.energy", "J"),
    "energy_seconds": ("edgefleet.power.measured", "s"),
    "throttled": ("edgefleet.throttled.reasons", ""),
    "throttled_share": ("edgefleet.throttled.share", "1"),
    "at_s": ("time_unix_s", "s"),
    "received_s": ("observed_time_unix_s", "s"),
    "kind": ("event.name", ""),
    "text": ("body", ""),
}
"""Our column -> (name, unit). The histogram is an exponential one at scale 4, so `positive.offset` and `bucket_counts` are
OpenTelemetry's own. Shares (unit 1) go from 0 to 1, as there: what devices say in percent is divided by 100."""


def table() -> str:
    """Return the names as a table in Markdown."""
    rows = [f"| `{ours}` | `{name}` | {f'`{unit}`' if unit else ''} |" for ours, (name, unit) in NAMES.items()]
    return "\n".join(["| ours | in the export | unit |", "|---|---|---|", *rows]) + "\n"
