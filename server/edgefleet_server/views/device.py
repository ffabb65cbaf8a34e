"""A device as it is shown, its commands, and its latency over time."""

from typing import Any

import msgspec

from edgefleet_protocol.messages import ModelState
from edgefleet_protocol.sketch import merge
from edgefleet_protocol.telemetry import DeviceWindow

from ..store.commands import CommandRow
from ..store.devices import Device
from ..store.telemetry import ModelRow

POINTS = 240
"""Of a chart: about three pixels each."""
ANSWER_S = 30.0
"""For an answer to come: a command that was obeyed at its last moment is still at work then."""
WORK_S = 3900.0
"""For a device that said that it is at work: a measurement may build an engine first, an hour at most."""


def device_view(device: Device, latest: dict[tuple[str, str], ModelRow], facts: DeviceWindow | None) -> dict[str, Any]:
    """Return a device as it is listed: what it is, says and runs, with the newest of its windows."""
    state, hardware = device.state, device.hardware
    return {
        "id": device.id,
        "region": device.region,
        "tags": list(device.tags),
        "online": device.online,
        "last_seen_s": device.last_seen_s,
        "first_seen_s": device.first_seen_s,
        "session": device.session,
        "hardware_class": hardware.hardware_class if hardware else None,
        "board": hardware.board if hardware else None,
        "arch": hardware.arch if hardware else None,
        "memory_total_bytes": hardware.memory_bytes if hardware else None,
        "agent_version": state.agent_version if state else None,
        "assigned_number": device.assigned_number,
        "assignment_number": state.assignment_number if state else 0,
        "rollout_serial": state.rollout_serial if state else None,
        "trust": dict(state.trust) if state else {},
        "trust_problem": state.trust_problem if state else None,
        "freeze": device.frozen or None,
        "machine": state.machine if state else "",
        "signed_by": device.lineage.rows[-1].key if device.lineage.rows else "",
        "alarm": None if device.alarm is None else msgspec.to_builtins(device.alarm),
        "bytes_received": state.bytes_received if state else 0,
        "limits_held": dict(state.limits_held) if state else {},
        "models": [_model(row, latest.get((device.id, row.model))) for row in state.models] if state else [],
        "temperature_c": facts.temperature_c if facts else None,
        "cpu_percent": facts.cpu_percent if facts else None,
        "battery_percent": facts.battery_percent if facts else None,
        "battery_charging": facts.battery_charging if facts else None,
        "power_w": facts.power_w if facts else None,
        # A device that reports itself and has no battery is on mains; of one that reported nothing nobody knows.
        "power_source": None if facts is None else "mains" if facts.battery_percent is None else "battery",
        "throttled": list(facts.throttled) if facts and facts.throttled is not None else None,
        "memory_available_bytes": facts.memory_available_bytes if facts else None,
        "agent_memory_bytes": facts.agent_memory_bytes if facts else None,
    }


def command_view(row: CommandRow, now: float) -> dict[str, Any]:
    """Return a command with its answer, and how it stands: `waiting`, `working`, `done`, `failed`, or `expired` without an answer."""
    status = "waiting" if now <= row.expires_s + ANSWER_S else "expired"
    if row.working_s is not None:
        status = "working" if now <= row.working_s + WORK_S else "expired"
    if row.ok is not None:
        status = "done" if row.ok else "failed"
    return {**msgspec.to_builtins(row), "status": status}


def _model(state: ModelState, latest: ModelRow | None) -> dict[str, Any]:
    running = state.running
    return {
        "model": state.model,
        "phase": state.phase,
        "why": state.why,
        "wanted": state.wanted,
        "release": running.release if running else None,
        "variant": running.variant if running else None,
        "variant_sha256": running.variant_sha256 if running else None,
        "since_s": running.since_s if running else None,
        "proven": running.proven if running else False,
        "previous": state.previous.release if state.previous else None,
        "chosen": state.chosen,
        "chosen_why": state.chosen_why,
        "failures": [msgspec.to_builtins(row) for row in state.failures],
        "measured": [msgspec.to_builtins(row) for row in state.measured],
        "latency_p50_s": latest.latency.quantile(0.5) if latest else None,
        "latency_p95_s": latest.latency.quantile(0.95) if latest else None,
        "memory_bytes": latest.memory_bytes if latest else None,
        "window_at_s": latest.placed_s if latest else None,
    }


def curve(model: str, rows: list[ModelRow], last_s: float) -> dict[str, Any]:
    """Merge windows into at most about POINTS points; a point holds one variant of one release only."""
    step = last_s / POINTS
    groups: dict[tuple[int, str, str], list[ModelRow]] = {}
    for row in rows:
        groups.setdefault((int(row.placed_s // step), row.release, row.variant), []).append(row)
    points = []
    for (_, release, variant), group in groups.items():
        sketch = merge(row.latency for row in group)
        points.append(
            {
                "at_s": group[0].placed_s,
                "p50_s": sketch.quantile(0.5),
                "p95_s": sketch.quantile(0.95),
                "p99_s": sketch.quantile(0.99),
                "requests": sum(row.requests for row in group),
                "errors": sum(row.errors for row in group),
                "memory_bytes": group[-1].memory_bytes,
                "release": release,
                "variant": variant,
            }
        )
    whole = merge(row.latency for row in rows)
    return {
        "model": model,
        "p50_s": whole.quantile(0.5),
        "p95_s": whole.quantile(0.95),
        "p99_s": whole.quantile(0.99),
        "requests": sum(row.requests for row in rows),
        "errors": sum(row.errors for row in rows),
        "points": points,
    }
