"""What a device is, and how it is: set by the test."""

from dataclasses import dataclass, field

from edgefleet_protocol.hardware import Hardware, RuntimeInfo
from edgefleet_protocol.telemetry import DeviceWindow

PI4 = Hardware(
    board="raspberrypi,4-model-b",
    hardware_class="pi4",
    arch="aarch64",
    features=("asimd",),
    cores=4,
    memory_bytes=4_000_000_000,
    storage_bytes=32_000_000_000,
    runtimes=(RuntimeInfo(name="fake", version="1.19.2"), RuntimeInfo(name="onnxruntime", version="1.23.2")),
)


@dataclass
class FakeProbe:
    """A board without battery or sensors unless the test gives it some."""

    board: Hardware = PI4
    window: DeviceWindow = field(default_factory=DeviceWindow)
    free_bytes: int = 10_000_000_000
    memory_bytes: int | None = None
    pressure_percent: float | None = None
    way_out: str | None = None

    serial: str = "10000000a1b2c3d4"
    measured_until: float = 0.0
    readings: list[tuple[float, float]] = field(default_factory=list)
    """Of power, for the next who asks."""

    def machine(self) -> str:
        return self.serial

    def hardware(self) -> Hardware:
        return self.board

    def device_window(self) -> DeviceWindow:
        return self.window

    def storage_free_bytes(self) -> int:
        return self.free_bytes

    def memory_available_bytes(self) -> int | None:
        return self.memory_bytes

    def memory_pressure_percent(self) -> float | None:
        return self.pressure_percent

    def measure_power(self, until: float) -> None:
        self.measured_until = until

    def power_readings(self) -> tuple[tuple[float, float], ...]:
        found, self.readings = tuple(self.readings), []
        return found

    def interface(self) -> str | None:
        return self.way_out
