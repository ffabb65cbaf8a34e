"""The Probe of the agent: the board, and its sensors."""

import platform
from pathlib import Path

from edgefleet_protocol.hardware import Hardware, class_of
from edgefleet_protocol.telemetry import DeviceWindow

from ..log import LOG
from . import board, firmware, network, pressure, rails, sensors, traffic, wattmeter
from . import plugins as others
from .runtimes import runtimes

RAILS_EVERY_S, PMIC_EVERY_S = 0.2, 0.5
"""While requests run: two small files, or a tool that must be started."""


class HardwareProbe:
    """Implements `seams.Probe`. Needs no root rights, writes only its cache, and never raises for what is missing."""

    def __init__(
        self,
        state_folder: Path,
        root: Path = Path("/"),
        machine: str | None = None,
        *,
        keep: bool = True,
        plugins: tuple[str, ...] = (),
    ) -> None:
        """root: where /proc, /sys and /etc are looked for. machine: instead of `uname -m`, for a root of another machine.

        keep: whether the cache may be written; not by one who only looks. plugins: sensors that the owner named.
        """
        self._state, self._keep = state_folder, keep
        self._root = root
        self._machine = machine
        self._hardware: Hardware | None = None
        self._load = sensors.Load(root)
        self._firmware = firmware.Firmware(root)
        self._rails = rails.Rails(root)
        self._meters = {
            "ina3221": wattmeter.Wattmeter(self._rails.power_w, RAILS_EVERY_S),
            "pmic": wattmeter.Wattmeter(self._firmware.power_w, PMIC_EVERY_S),
        }
        self._source: str | None = None
        """Of power, at the last reading."""
        found, troubles = others.find(plugins)
        self._plugins = others.Plugins(found, root)
        for words in troubles:
            LOG.warning("%s", words)

    def machine(self) -> str:
        """Return the board's serial number, or nothing."""
        return board.serial_number(self._root)

    def hardware(self) -> Hardware:
        """Return what the device is; read at the first call."""
        if self._hardware is None:
            self._hardware = self._read()
        return self._hardware

    def _read(self) -> Hardware:
        names = board.compatible(self._root)
        arch = board.machine(self._root, self._machine)
        return Hardware(
            board=names[0][:256] if names else "generic",
            hardware_class=class_of(names, arch),
            arch=arch,
            features=board.features(self._root)[:256],
            cores=board.cores(self._root),
            memory_bytes=board.memory_bytes(self._root),
            storage_bytes=sensors.storage_bytes(self._state) or 0,
            accelerator=board.accelerator(names),
            power_mode=board.power_mode(self._root),
            os=board.system(self._root),
            python=platform.python_version(),
            runtimes=runtimes(self._state, keep=self._keep),
        )

    def device_window(self) -> DeviceWindow:
        """Return how the device is now. `cpu_percent` is since the last call; bytes are since boot, as `metering` wants them."""
        percent, charging = sensors.battery(self._root)
        watts, source = self._rails.power_w(), "ina3221"
        if watts is None and self.hardware().hardware_class == "pi5":
            watts, source = self._firmware.power_w(), "pmic"
        if (other := self._plugins.read()) is not None:
            name, row = other
            if percent is None and row.battery_percent is not None:
                percent, charging = row.battery_percent, row.battery_charging
            if watts is None and row.power_w is not None:
                watts, source = row.power_w, name
        self._source = None if watts is None else source
        held = sensors.throttled(self._root)
        if held is None and self.hardware().board.startswith("raspberrypi,"):
            held = self._firmware.throttled()
        return DeviceWindow(
            cpu_percent=self._load.percent(),
            memory_available_bytes=self.memory_available_bytes(),
            storage_free_bytes=sensors.storage_free_bytes(self._state),
            temperature_c=sensors.temperature_c(self._root),
            throttled=held,
            power_w=watts,
            power_source=self._source,
            storage_written_bytes=traffic.written_bytes(self._root, self._state),
            storage_wear_percent=traffic.wear_percent(self._root, self._state),
            network=traffic.interfaces(self._root),
            battery_percent=percent,
            battery_charging=charging,
            agent_memory_bytes=sensors.agent_memory_bytes(),
        )

    def storage_free_bytes(self) -> int:
        """Free bytes of the file system that holds the state; 0 when it cannot be told, so that nothing is written."""
        return sensors.storage_free_bytes(self._state) or 0

    def memory_available_bytes(self) -> int | None:
        """Bytes that a new process could have."""
        return sensors.memory_available_bytes(self._root)

    def memory_pressure_percent(self) -> float | None:
        """Share of the last ten seconds in which some task waited for memory."""
        return pressure.memory_pressure_percent(self._root)

    def measure_power(self, until: float) -> None:
        """Read power several times a second until then, where a sensor of the board's own said it last."""
        if self._source in self._meters:
            self._meters[self._source].want(until)

    def power_readings(self) -> tuple[tuple[float, float], ...]:
        """What was read so, since the last call: (monotonic seconds, watts)."""
        taken = {source: meter.take() for source, meter in self._meters.items()}
        return taken.get(self._source or "", ())

    def interface(self) -> str | None:
        """The network interface of the way out."""
        return network.way_out(self._root)
