"""What devices say: every number is one that a database and a calendar can hold, every list has an end."""

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edgefleet_protocol.codec import Document, decode
from edgefleet_protocol.errors import BadDocument
from edgefleet_protocol.messages import Command, DeviceState, Event, Need
from edgefleet_protocol.telemetry import TelemetryBatch

WIRE = Path(__file__).parents[1] / "golden" / "wire" / "v1"
FILES = {
    DeviceState: "device-state",
    Event: "event",
    Need: "need",
    Command: "command",
    TelemetryBatch: "telemetry-batch",
}


def changed(kind: type[Document], path: tuple[object, ...], value: object) -> bytes:
    """A golden document with the value at `path` replaced."""
    whole = at = json.loads((WIRE / f"{FILES[kind]}.json").read_bytes())
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return json.dumps(whole).encode()


WRONG = (
    (DeviceState, ("device",), "pi/7"),
    (DeviceState, ("session",), -1),
    (DeviceState, ("session",), 2**63),
    (DeviceState, ("at_s",), 1e300),
    (DeviceState, ("at_s",), -1e300),
    (DeviceState, ("trust", "root"), 2**64),
    (DeviceState, ("trust", "root"), -1),
    (DeviceState, ("tags",), ["x"] * 33),
    (DeviceState, ("bytes_received",), 2**60),
    (DeviceState, ("hardware", "memory_bytes"), 2**64),
    (DeviceState, ("hardware", "memory_bytes"), -1),
    (DeviceState, ("hardware", "cores"), 2**64),
    (DeviceState, ("hardware", "features"), ["f"] * 257),
    (DeviceState, ("hardware", "board"), "b" * 257),
    (DeviceState, ("hardware", "runtimes", 0, "providers"), ["p"] * 33),
    (DeviceState, ("models", 0, "phase"), "dancing"),
    (DeviceState, ("models", 0, "why"), "w" * 2001),
    (DeviceState, ("models", 0, "running", "since_s"), 1e12),
    (DeviceState, ("models", 0, "measured", 0, "latency_p50_s"), -0.1),
    (DeviceState, ("models", 0, "measured", 0, "memory_bytes"), 2**64),
    (DeviceState, ("models", 0, "failures", 0, "at_s"), 1e12),
    (DeviceState, ("models", 0, "failures", 0, "stage"), "lunch"),
    (Event, ("at_s",), 1e12),
    (Event, ("facts",), {"k": "v" * 2001}),
    (Event, ("facts",), {"k" * 129: "v"}),
    (Event, ("facts",), {"k": 1}),
    (Need, ("chunks",), ["a" * 64] * 257),
    (Need, ("chunks",), ["a" * 63]),
    (Command, ("expires_s",), 1e300),
    (TelemetryBatch, ("windows",), []),
    (TelemetryBatch, ("windows", 0, "start_s"), 1e12),
    (TelemetryBatch, ("windows", 0, "seconds"), 0),
    (TelemetryBatch, ("windows", 0, "seconds"), 86401),
    (TelemetryBatch, ("windows", 0, "started_monotonic_s"), -1),
    (TelemetryBatch, ("windows", 0, "device", "memory_available_bytes"), 2**64),
    (TelemetryBatch, ("windows", 0, "device", "throttled"), ["x"] * 17),
    (TelemetryBatch, ("windows", 0, "models", 0, "requests"), -1),
    (TelemetryBatch, ("windows", 0, "models", 0, "memory_bytes"), 2**64),
    (TelemetryBatch, ("windows", 0, "models", 0, "latency", "offset"), 20_000),
    (TelemetryBatch, ("windows", 0, "models", 0, "latency", "counts"), [0] * 4097),
)


@pytest.mark.parametrize(
    ("kind", "path", "value"), WRONG, ids=lambda each: ".".join(map(str, each)) if isinstance(each, tuple) else ""
)
def test_what_no_server_could_store_is_refused(kind, path, value):
    with pytest.raises(BadDocument, match=r"\$"):
        decode(changed(kind, path, value), kind)


@pytest.mark.parametrize("at_s", (0, 0.0, -1.5, 1e9, -6e10, 2.5e11))
def test_a_clock_may_be_wrong_but_names_a_day(at_s):
    read = decode(changed(Event, ("at_s",), at_s), Event).at_s
    assert datetime.fromtimestamp(read, timezone.utc).year < 10_000


def test_more_windows_than_a_batch_may_hold_are_refused():
    window = json.loads((WIRE / "telemetry-batch.json").read_bytes())["windows"][0]
    assert len(decode(changed(TelemetryBatch, ("windows",), [window] * 64), TelemetryBatch).windows) == 64
    with pytest.raises(BadDocument):
        decode(changed(TelemetryBatch, ("windows",), [window] * 65), TelemetryBatch)


def test_what_a_device_lacks_is_absent_and_not_zero():
    window = decode(changed(TelemetryBatch, ("windows", 0, "device"), {}), TelemetryBatch).windows[0].device
    assert window.battery_percent is None
    assert window.temperature_c is None
    assert window.throttled is None
