"""Power is read several times a second while requests run, where a sensor is there, and not at all otherwise."""

import itertools
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefleet_agent.hardware import samples
from edgefleet_agent.hardware.probe import HardwareProbe
from edgefleet_agent.hardware.wattmeter import MAX_FAILURES, Wattmeter
from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import DeviceWindow
from tests.fakes.device import assign, fleet, package, proven


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, as long as it takes."""
    while not holds():
        threading.Event().wait(0.002)


def asleep() -> bool:
    """Return whether no sensor is read."""
    return all(thread.name != "wattmeter" for thread in threading.enumerate())


def test_a_jetson_is_read_between_two_windows_while_it_is_wanted_and_then_no_more(tmp_path: Path) -> None:
    root = tmp_path / "board"
    shutil.copytree(samples.path("orin-nano"), root)
    probe = HardwareProbe(tmp_path / "state", root, samples.MACHINE, keep=False)
    probe.measure_power(time.monotonic() + 60)
    assert asleep(), "nothing was read of power yet: there may be no sensor"
    assert probe.device_window().power_source == "ina3221"
    probe.measure_power(time.monotonic() + 0.5)
    until(asleep)
    readings = probe.power_readings()
    assert readings and {round(watts, 2) for _, watts in readings} == {5.25}
    assert [at for at, _ in readings] == sorted(at for at, _ in readings)
    assert probe.power_readings() == ()


def test_a_board_without_a_sensor_is_never_read(tmp_path: Path) -> None:
    probe = HardwareProbe(tmp_path / "state", samples.path("pi4"), samples.MACHINE, keep=False)
    assert probe.device_window().power_source is None
    probe.measure_power(time.monotonic() + 60)
    assert asleep() and probe.power_readings() == ()


def test_a_sensor_that_went_is_let_be_and_tried_again_when_it_is_wanted_again() -> None:
    said: list[float | None] = [None] * MAX_FAILURES + [3.0]
    meter = Wattmeter(lambda: said.pop(0) if said else None, 0.001)
    meter.want(time.monotonic() + 600)
    until(asleep)
    assert meter.take() == () and len(said) == 1
    meter.want(time.monotonic() + 600)
    until(asleep)
    assert [watts for _, watts in meter.take()] == [3.0]


def test_what_nobody_takes_is_bounded() -> None:
    count = itertools.count()
    meter = Wattmeter(lambda: float(next(count)) if next(count) < 3000 else None, 0.0)
    meter.want(time.monotonic() + 600)
    until(asleep)
    assert len(meter.take()) <= 512


def test_a_served_model_that_nobody_asks_costs_no_reading_and_one_that_is_asked_tells_the_energy_between() -> None:
    device, hub = fleet()
    first = package(1)
    hub.publish(first)
    hub.roll_out(assign(first), policy=Policy(telemetry_interval_s=10.0))
    device.probe.window = DeviceWindow(power_w=4.0, power_source="ina3221")
    device.boot()
    device.launcher.requests_per_read = 0
    device.run(until=proven(first))
    device.run(turns=40)
    assert device.probe.measured_until == 0.0
    device.launcher.requests_per_read = 50
    device.run(until=lambda one: one.probe.measured_until > one.clock.monotonic(), turns=10)
    now = device.clock.monotonic()
    device.probe.readings = [(now - 0.2, 4.0), (now - 0.1, 104.0), (now, 4.0)]
    before = len(device.windows())
    device.run(until=lambda one: len(one.windows()) > before + 1)
    energies = sorted(
        (row.device.energy_j or 0.0) - 4.0 * (row.device.energy_s or 0.0) for row in device.windows()[before:]
    )
    assert energies[0] == pytest.approx(0.0, abs=0.5) and energies[-1] == pytest.approx(10.0, abs=0.5)
