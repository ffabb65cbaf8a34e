"""How the device is: battery, heat, disk, memory and the way out, read no more often than it changes; and what presses it."""

import dataclasses
from collections.abc import Iterable

from edgefleet_protocol.rollout import Policy

from .conditions import Surroundings
from .config import Config
from .live import Live
from .metering import Metering
from .rules.governor import watch
from .rules.permits import is_named
from .rules.seen import Strain
from .seams import Probe

SENSE_EVERY_S = 5.0
MEASURE_S = 2 * SENSE_EVERY_S
"""Power is read often for so long after requests were seen: until the counts were read again, and once more."""


class Sensing:
    """The probe, asked at most every few seconds."""

    def __init__(self, probe: Probe, config: Config) -> None:
        self._probe, self._config = probe, config
        self._read: tuple[float, Surroundings] | None = None
        self.metering = Metering()
        self.strain = Strain()
        """What presses the device, as of the last reading."""

    def follow(self, lives: Iterable[Live], now: float) -> None:
        """Have power read often while any model is asked, for the energy of an inference; with none, nothing is read."""
        if any(live.was_asked(now - SENSE_EVERY_S) for live in lives):
            self._probe.measure_power(now + MEASURE_S)

    def around(self, policy: Policy, now: float) -> Surroundings:
        """Return how the device is; its free space and memory as they are now.

        A download or an assembly is begun by the one, and one system call tells it; whether two workers fit is asked
        just after one ended.
        """
        free_bytes, memory_bytes = self._probe.storage_free_bytes(), self._probe.memory_available_bytes()
        if self._read is None or now >= self._read[0] + SENSE_EVERY_S:
            interface = self._probe.interface()
            around = Surroundings(
                device=self.metering.sample(now, self._probe.device_window(), self._probe.power_readings()),
                storage_free_bytes=free_bytes,
                memory_available_bytes=memory_bytes,
                reserve_bytes=self._config.limits.reserve_bytes,
                memory_pressure_percent=self._probe.memory_pressure_percent(),
                interface=interface,
                metered=interface is not None and is_named(interface, self._config.network.metered),
            )
            self._read = (now, around)
            self.strain = watch(self.strain, around, policy.governor, now)
        return dataclasses.replace(
            self._read[1],
            storage_free_bytes=free_bytes,
            memory_available_bytes=memory_bytes,
            reserve_bytes=max(self._config.limits.reserve_bytes, policy.disk_reserve_bytes or 0),
        )
