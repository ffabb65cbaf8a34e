"""What our numbers are called in OpenTelemetry's semantic conventions, and in which unit; used by the export.

Those of `hw.*`, `process.*` and `system.*` have the status "development" there. For what no convention has a name, ours
begin with `edgefleet.`.
"""

NAMES: dict[str, tuple[str, str]] = {
    "start_s": ("time_unix_s", "s"),
    "seconds": ("edgefleet.window.duration", "s"),
    "region": ("edgefleet.region", ""),
    "model": ("edgefleet.model.name", ""),
    "release": ("edgefleet.model.release", ""),
    "variant": ("edgefleet.model.variant", ""),
    "hardware_class": ("edgefleet.hardware.class", ""),
    "devices": ("edgefleet.devices.seen", "{device}"),
    "requests": ("edgefleet.inference.requests", "{request}"),
    "errors": ("edgefleet.inference.errors", "{request}"),
    "latency_p50_s": ("edgefleet.inference.duration.p50", "s"),
    "latency_p95_s": ("edgefleet.inference.duration.p95", "s"),
    "latency_p99_s": ("edgefleet.inference.duration.p99", "s"),
    "latency_scale": ("edgefleet.inference.duration.scale", ""),
    "latency_offset": ("edgefleet.inference.duration.positive.offset", ""),
    "latency_counts": ("edgefleet.inference.duration.positive.bucket_counts", ""),
    "latency_zero": ("edgefleet.inference.duration.zero_count", ""),
    "memory_max_bytes": ("process.memory.usage.max", "By"),
    "memory_mean_bytes": ("process.memory.usage", "By"),
    "temperature_mean_c": ("hw.temperature", "Cel"),
    "temperature_max_c": ("hw.temperature.max", "Cel"),
    "battery_mean_percent": ("hw.battery.charge", "%"),
    "power_mean_w": ("hw.host.power", "W"),
    "cpu_mean_percent": ("system.cpu.utilization", "%"),
}
"""Our column -> (name, unit). The histogram is an exponential one at scale 4, so `positive.offset` and `bucket_counts` are
OpenTelemetry's own."""
