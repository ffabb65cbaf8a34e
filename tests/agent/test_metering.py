"""What adds up over a window, and what a board lacks stays absent."""

import os
from pathlib import Path

import pytest

from edgefleet_agent.hardware import samples, traffic
from edgefleet_agent.hardware.firmware import AGAIN_S, Firmware, board_power_w
from edgefleet_agent.metering import Metering, merge_devices
from edgefleet_protocol.telemetry import DeviceWindow, InterfaceWindow


def power(watts: float, source: str = "ina3221") -> DeviceWindow:
    return DeviceWindow(power_w=watts, power_source=source)


def test_energy_is_the_trapezoid_of_the_readings_and_a_gap_counts_for_nothing() -> None:
    meter = Metering()
    for at, watts in ((0, 4.0), (5, 6.0), (10, 6.0), (100, 6.0)):
        meter.sample(at, power(watts))
    row = meter.close(105, power(8.0), served=True)
    assert (row.energy_j, row.energy_s) == (25 + 30 + 35, 15)
    assert meter.close(300, power(8.0), served=True).energy_j is None
    meter.sample(305, power(8.0, "pmic"))
    assert meter.close(306, DeviceWindow(), served=True).energy_j is None


def test_what_is_read_several_times_a_second_is_counted_between_two_readings() -> None:
    meter = Metering()
    meter.sample(0, power(4.0))
    meter.sample(4, power(4.0), ((1.0, 4.0), (1.5, 12.0), (2.0, 4.0)))
    row = meter.close(8, power(4.0), ((3.0, 99.0), (9.0, 99.0)), served=True)
    assert (row.energy_j, row.energy_s) == (4 * 4 + 4 + 4 * 4, 8), "and what is not of this time is not"
    meter.sample(10, power(2.0, "pmic"), ((9.0, 50.0),))
    assert meter.close(11, DeviceWindow(), served=True).energy_j is None, "nor what is of another source"


def test_power_at_rest_is_known_only_from_windows_without_requests() -> None:
    meter = Metering()
    for at in range(20):
        meter.sample(at, power(9.0))
    assert meter.close(20, power(9.0), served=True).idle_w is None
    for at in range(21, 61):
        meter.sample(at, power(3.0 + at / 100))
    assert meter.close(61, power(4.0), served=False).idle_w == pytest.approx(3.23)


def test_s36_a_board_without_sensors_tells_of_none() -> None:
    meter = Metering()
    meter.sample(0, DeviceWindow())
    assert meter.close(5, DeviceWindow(), served=False) == DeviceWindow()


def test_seconds_are_counted_for_each_reason_and_a_pi_that_was_never_held_back_says_so() -> None:
    meter = Metering()
    for at, words in ((0, ()), (5, ("capped",)), (10, ("capped", "under-voltage")), (15, ())):
        meter.sample(at, DeviceWindow(throttled=words))
    assert meter.close(20, DeviceWindow(throttled=()), served=False).throttled_s == {"capped": 10, "under-voltage": 5}
    assert meter.close(25, DeviceWindow(throttled=()), served=False).throttled_s == {}


def test_bytes_are_those_of_the_window_and_a_counter_that_began_anew_says_nothing() -> None:
    meter = Metering()
    rows = [(1000, 50), (1500, 80), (10, 90)]
    found = [
        meter.close(
            at,
            DeviceWindow(
                storage_written_bytes=written,
                network=(InterfaceWindow(name="eth0", received_bytes=came, sent_bytes=1),),
            ),
            served=False,
        )
        for at, (written, came) in enumerate(rows)
    ]
    assert [row.storage_written_bytes for row in found] == [None, 500, None]
    assert [row.network and row.network[0].received_bytes for row in found] == [None, 30, 10]


def test_merged_windows_add_what_adds_up_and_keep_the_last_of_the_rest() -> None:
    older = DeviceWindow(
        temperature_c=50.0, power_source="pmic", energy_j=10.0, energy_s=5.0, throttled_s={"capped": 2.0},
        storage_written_bytes=7, network=(InterfaceWindow(name="eth0", received_bytes=1, sent_bytes=2),),
    )  # fmt: skip
    newer = DeviceWindow(
        temperature_c=60.0, power_source="pmic", energy_j=20.0, energy_s=5.0, throttled_s={"capped": 1.0},
        network=(InterfaceWindow(name="eth0", received_bytes=1, sent_bytes=2), InterfaceWindow(name="wlan0")),
    )  # fmt: skip
    both = merge_devices(older, newer)
    assert (both.temperature_c, both.energy_j, both.energy_s, both.throttled_s) == (60.0, 30.0, 10.0, {"capped": 3.0})
    assert both.storage_written_bytes == 7 and both.network is not None and both.network[0].sent_bytes == 4
    assert merge_devices(DeviceWindow(), DeviceWindow()) == DeviceWindow()
    other = merge_devices(older, DeviceWindow(power_source="ina3221", energy_j=1.0, energy_s=1.0))
    assert (other.power_source, other.energy_j, other.energy_s) == ("ina3221", 1.0, 1.0)


def tool(root: Path, script: str) -> Path:
    path = root / "usr/bin/vcgencmd"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return root


def test_the_firmware_s_tool_is_asked_where_there_is_one_and_given_up_when_it_fails(tmp_path: Path) -> None:
    assert Firmware(tmp_path).throttled() is None and Firmware(tmp_path).power_w() is None
    said = tool(
        tmp_path, 'if [ $1 = get_throttled ]; then echo throttled=0x50005; else echo "VDD_A current(0)=2.0A"; fi'
    )
    assert Firmware(said).throttled() == ("under-voltage", "throttled")
    assert Firmware(said).power_w() is None
    now = [1000.0]
    broken = Firmware(tool(tmp_path, "exit 1"), lambda: now[0])
    assert [broken.throttled() for _ in range(3)] == [None] * 3
    tool(tmp_path, "echo throttled=0x0")
    assert broken.throttled() is None and Firmware(tmp_path).throttled() == ()
    now[0] += AGAIN_S
    assert broken.throttled() == (), "and asked again after a while"


def test_the_rails_of_a_pi_5_are_added_and_brought_to_what_the_wall_gives() -> None:
    said = "   3V3_SYS_A current(1)=0.50A\n  VDD_CORE_A current(7)=2.0A\n 3V3_SYS_V volt(9)=3.30V\n VDD_CORE_V volt(15)=0.80V\n EXT5V_V volt(24)=5.1V\n"
    assert board_power_w(said) == pytest.approx(1.1451 * (1.65 + 1.6) + 0.5879, abs=1e-3)
    assert board_power_w("") is None
    for odd in ("1.6.5", "...", "9" * 400, "999999999"):
        assert board_power_w(f"A_A current(0)={odd}A\nA_V volt(1)={odd}V") is None


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_interfaces_that_lead_out_are_counted_and_a_signal_is_told_where_the_driver_says_dbm(tmp_path: Path) -> None:
    zeros = "0 0 0 0 0 0"
    write(
        tmp_path,
        "proc/net/dev",
        f"Inter-| Receive\n face |bytes\n    lo: 9 1 {zeros} 9 1 0\n wlan0: 123 1 {zeros} 45 1 0\n  eth0: 6 1 {zeros} 7 1 0\n",
    )
    write(tmp_path, "proc/net/wireless", "Inter-| sta\n face | tus\n wlan0: 0000   60.  -50.  -256  0 0 0\n")
    assert traffic.interfaces(tmp_path) == (
        InterfaceWindow(name="eth0", received_bytes=6, sent_bytes=7),
        InterfaceWindow(name="wlan0", received_bytes=123, sent_bytes=45, signal_dbm=-50.0),
    )
    assert traffic.interfaces(samples.path("cm4")) is None


@pytest.mark.parametrize(
    ("partition", "disk"), [("mmcblk0p2", "mmcblk0"), ("nvme0n1p1", "nvme0n1"), ("sda2", "sda"), ("zram0", "zram0")]
)
def test_bytes_written_and_wear_are_of_the_disk_that_holds_the_state(tmp_path: Path, partition: str, disk: str) -> None:
    number = tmp_path.stat().st_dev
    if partition != disk:
        write(
            tmp_path,
            "proc/diskstats",
            f" 99 0 {disk} 1 0 8 0 5 0 2000 0 0 0 0\n {os.major(number)} {os.minor(number)} {partition} 1 0 8 0 5 0 1000 0 0 0 0\n",
        )
        assert traffic.written_bytes(tmp_path, tmp_path) == 2000 * 512
    else:
        write(tmp_path, "proc/diskstats", f" {os.major(number)} {os.minor(number)} {disk} 1 0 8 0 5 0 1000 0 0 0 0\n")
        assert traffic.written_bytes(tmp_path, tmp_path) == 1000 * 512
    assert traffic.wear_percent(tmp_path, tmp_path) is None
    write(tmp_path, f"sys/class/block/{disk}/device/life_time", "0x02 0x09\n")
    assert traffic.wear_percent(tmp_path, tmp_path) == 90.0
    write(tmp_path, f"sys/class/block/{disk}/device/life_time", "0x00 0x00\n")
    assert traffic.wear_percent(tmp_path, tmp_path) is None
