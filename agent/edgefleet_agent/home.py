"""What Home Assistant is told of this device, as its MQTT discovery wants it: topics and payloads, from a window and the state. Pure.

One retained topic for each sensor, `PREFIX/sensor/edgefleet-DEVICE/NAME/config`, announces it once it has a value; all values come in one JSON
object on the device's own topic. This older kind of discovery is understood by every version of Home Assistant that is in use.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState
from edgefleet_protocol.telemetry import Window

from . import __version__

Value = float | int | str | bool


@dataclass(frozen=True)
class Sensor:
    """One sensor as Home Assistant shows it. `unit` and `kind` (its device class) are of its own list of them."""

    name: str
    words: str
    unit: str = ""
    kind: str = ""
    binary: bool = False
    """A question of yes or no."""

    @property
    def component(self) -> str:
        """Return the kind of entity it is."""
        return "binary_sensor" if self.binary else "sensor"


DEVICE = (
    Sensor("temperature_c", "Temperature", "°C", "temperature"),
    Sensor("power_w", "Power", "W", "power"),
    Sensor("battery_percent", "Battery", "%", "battery"),
    Sensor("battery_charging", "On external power", kind="plug", binary=True),
    Sensor("cpu_percent", "Processor", "%"),
    Sensor("memory_available_bytes", "Memory available", "B", "data_size"),
    Sensor("storage_free_bytes", "Storage free", "B", "data_size"),
    Sensor("held_back", "Clock held back"),
)
"""Each of the name of a field of DeviceWindow, but for the last."""


def of_model(model: str) -> tuple[Sensor, ...]:
    """Return the sensors of one model."""
    return (
        Sensor(f"{model}_release", f"{model} release"),
        Sensor(f"{model}_requests", f"{model} requests"),
        Sensor(f"{model}_errors", f"{model} errors"),
        Sensor(f"{model}_p95_ms", f"{model} latency (p95)", "ms", "duration"),
    )


@dataclass(frozen=True)
class Topics:
    """Where things are said. `prefix`: of discovery, as Home Assistant is set up."""

    fleet: str
    device: str
    prefix: str

    @property
    def state(self) -> str:
        """All values, as one JSON object."""
        return f"edgefleet/{self.fleet}/{self.device}/home"

    @property
    def availability(self) -> str:
        """`online`, or the last will's `offline`."""
        return f"{self.state}/availability"

    def config(self, sensor: Sensor) -> str:
        """What a sensor is."""
        return f"{self.prefix}/{sensor.component}/edgefleet-{self.device}/{sensor.name}/config"


def values(window: Window, state: DeviceState | None) -> dict[Sensor, Value]:
    """Return what there is to say. What the device lacks is not in it."""
    found: dict[Sensor, Value] = {}
    for sensor in DEVICE[:-1]:
        if (value := getattr(window.device, sensor.name)) is not None:
            found[sensor] = value
    if window.device.throttled is not None:
        found[DEVICE[-1]] = ", ".join(window.device.throttled) or "no"
    running = {row.model: row.running.release for row in (state.models if state else ()) if row.running}
    counted = {row.model: row for row in window.models}  # of two variants in one window, the later
    for model in sorted({*running, *counted}):
        release, requests, errors, p95 = of_model(model)
        if model in running:
            found[release] = running[model]
        if (row := counted.get(model)) is not None:
            found[requests], found[errors] = row.requests, row.errors
            if (seconds := row.latency.quantile(0.95)) is not None:
                found[p95] = round(1000 * seconds, 2)
    return found


def announcement(topics: Topics, sensor: Sensor, hardware: Hardware | None) -> bytes:
    """Return the payload that makes Home Assistant show `sensor`."""
    # A sensor that has no value now is null, which Home Assistant takes for unknown.
    said = f"value_json['{sensor.name}']"
    row: dict[str, Any] = {
        "name": sensor.words,
        "unique_id": f"edgefleet-{topics.fleet}-{topics.device}-{sensor.name}",
        "state_topic": topics.state,
        "availability_topic": topics.availability,
        "value_template": f"{{{{ 'ON' if {said} else 'OFF' }}}}" if sensor.binary else f"{{{{ {said} }}}}",
        "device": {
            "identifiers": [f"edgefleet-{topics.fleet}-{topics.device}"],
            "name": topics.device,
            "manufacturer": "EdgeFleet",
            "model": hardware.board if hardware else "",
            "sw_version": __version__,
        },
        "origin": {"name": "edgefleet-agent", "sw_version": __version__},
    }
    if sensor.kind:
        row["device_class"] = sensor.kind
    if sensor.unit:
        row |= {"unit_of_measurement": sensor.unit, "state_class": "measurement"}
    return json.dumps(row, separators=(",", ":")).encode()


def said(found: Mapping[Sensor, Value], announced: Iterable[Sensor]) -> bytes:
    """Return all values in one object, null for what was announced once and has none now."""
    rows: dict[str, Value | None] = {sensor.name: None for sensor in announced}
    return json.dumps(rows | {sensor.name: value for sensor, value in found.items()}, separators=(",", ":")).encode()
