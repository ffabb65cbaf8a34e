"""How a virtual board is: heat that follows the day and the load, a battery that empties, sensors that not every board has."""

import math
from collections.abc import Callable

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.telemetry import DeviceWindow

from .boards import Board, hardware

DAY_S = 86400.0


class VirtualProbe:
    """Implements the agent's `Probe`. machine: the board's serial number; a clone's is another."""

    def __init__(self, number: int, board: Board, machine: str, now: Callable[[], float]) -> None:
        self._number, self._board, self._machine, self._now = number, board, machine, now
        self._battery = (number * 7919 % 1000) / 1000 < board.battery_share

    def machine(self) -> str:
        """The board's serial number."""
        return self._machine

    def hardware(self) -> Hardware:
        """What it is."""
        return hardware(self._board.sample)

    def device_window(self) -> DeviceWindow:
        """How it is now."""
        turn = 2 * math.pi * (self._now() / DAY_S + self._number % 97 / 97)
        battery = round(60 + 35 * math.sin(turn), 1) if self._battery else None
        return DeviceWindow(
            cpu_percent=12.0 + self._number % 20,
            memory_available_bytes=self.memory_available_bytes(),
            storage_free_bytes=self.storage_free_bytes(),
            temperature_c=round(self._board.idle_c + 6 * math.sin(turn), 1),
            battery_percent=battery,
            battery_charging=None if battery is None else battery > 60,
            agent_memory_bytes=36_000_000,
        )

    def storage_free_bytes(self) -> int:
        """Free bytes of the disk."""
        return 8_000_000_000

    def memory_available_bytes(self) -> int:
        """Bytes that a new process could have."""
        return int(hardware(self._board.sample).memory_bytes * 0.6)

    def memory_pressure_percent(self) -> float | None:
        """No virtual board is short of memory."""
        return None

    def measure_power(self, until: float) -> None:
        """No virtual board has a power sensor."""

    def power_readings(self) -> tuple[tuple[float, float], ...]:
        """None."""
        return ()

    def interface(self) -> str | None:
        """The way out."""
        return "wlan0"
