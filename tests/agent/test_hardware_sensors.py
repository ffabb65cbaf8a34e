"""How a device is: real values where there is a sensor, None where there is none."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import msgspec
import psutil
import pytest

from edgefleet_agent.hardware import samples, sensors
from edgefleet_agent.hardware.probe import HardwareProbe
from edgefleet_agent.hardware.rails import Rails
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.telemetry import DeviceWindow


def write(root: Path, files: dict[str, str]) -> Path:
    """Write small files below `root` and return it."""
    for name, value in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(value + "\n")
    return root


@pytest.mark.parametrize(
    ("name", "temperature", "throttled", "battery", "power"),
    [
        ("pi-zero-2-w", 52.616, (), (87.0, False), None),
        ("pi4", 58.426, (), (None, None), None),
        ("pi5", 49.85, (), (None, None), None),
        ("orin-nano", 48.031, None, (70.8, True), 5.25),
        ("jetson-nano", 48.312, None, (None, None), 2.875),
        ("tx2", 48.312, None, (None, None), 3.418),
    ],
)
def test_each_board_has_what_it_has(
    name: str,
    temperature: float,
    throttled: tuple[str, ...] | None,
    battery: tuple[float | None, bool | None],
    power: float | None,
) -> None:
    root = samples.path(name)
    assert sensors.temperature_c(root) == pytest.approx(temperature)
    assert sensors.throttled(root) == throttled
    assert sensors.battery(root) == battery
    assert Rails(root).power_w() == (None if power is None else pytest.approx(power, abs=0.01))
    assert (sensors.memory_available_bytes(root) or 0) > 100e6


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ("0", ()),
        ("50005", ("under-voltage", "throttled")),
        ("0xe0008", ("soft-limit",)),
        ("f0000", ()),
        ("f", ("under-voltage", "capped", "throttled", "soft-limit")),
        ("80000001", None),
        ("nonsense", None),
    ],
)
def test_throttling_tells_what_holds_now(tmp_path: Path, bits: str, words: tuple[str, ...] | None) -> None:
    write(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": bits})
    assert sensors.throttled(tmp_path) == words


def test_the_hottest_zone_that_computes_counts_and_a_dead_one_does_not(tmp_path: Path) -> None:
    zone = "sys/class/thermal/thermal_zone"
    files = {f"{zone}0/type": "PMIC-Die", f"{zone}0/temp": "100000", f"{zone}1/type": "CPU-therm",
             f"{zone}1/temp": "41500", f"{zone}2/type": "GPU-therm", f"{zone}2/temp": "43000",
             f"{zone}3/type": "cv0-thermal", f"{zone}3/temp": "-256000"}  # fmt: skip
    assert sensors.temperature_c(write(tmp_path, files)) == 43.0


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"bat/type": "Battery", "bat/capacity": "40", "bat/status": "Discharging"}, (40.0, False)),
        ({"bat/type": "Battery", "bat/capacity": "40", "bat/status": "Not charging"}, (40.0, True)),
        ({"bat/type": "Battery", "bat/capacity": "140", "bat/status": "Full"}, (100.0, True)),
        ({"bat/type": "Battery", "bat/charge_now": "25", "bat/charge_full": "200"}, (12.5, None)),
        ({"bat/type": "Battery", "bat/capacity": "9", "ac/type": "Mains", "ac/online": "0"}, (9.0, False)),
        ({"mouse/type": "Battery", "mouse/scope": "Device", "mouse/capacity": "40"}, (None, None)),
        ({"bat/type": "Battery", "bat/present": "0", "bat/capacity": "40"}, (None, None)),
        ({"bat/type": "Battery", "bat/energy_now": "1", "bat/energy_full": "0"}, (None, None)),
        ({"ac/type": "Mains", "ac/online": "1"}, (None, None)),
    ],
)
def test_batteries(tmp_path: Path, files: dict[str, str], expected: tuple[float | None, bool | None]) -> None:
    write(tmp_path, {f"sys/class/power_supply/{name}": value for name, value in files.items()})
    assert sensors.battery(tmp_path) == expected


GARBAGE = ("9" * 400, "²³", "MemTotal: ² kB\nMemAvailable: ² kB", "-1")
"""What a file of /proc and /sys may hold where a driver is broken; besides, no text, a folder, and a link to itself."""


@pytest.mark.parametrize("name", ["pi4", "orin-nano"])
def test_a_file_of_garbage_costs_its_own_measurement_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("edgefleet_agent.hardware.probe.runtimes", lambda *_, **__: ())  # asks a process, each time
    root = tmp_path / "board"
    shutil.copytree(samples.path(name), root)

    def look() -> None:
        probe = HardwareProbe(tmp_path, root=root, machine="aarch64", keep=False)
        hardware = msgspec.json.decode(msgspec.json.encode(probe.hardware()), type=Hardware)
        window = msgspec.json.decode(msgspec.json.encode(probe.device_window()), type=DeviceWindow)
        assert hardware.arch == "aarch64" and (window.power_w is None or abs(window.power_w) <= 10_000)

    for path in [path for path in sorted(root.rglob("*")) if path.is_file()]:
        said = path.read_bytes()
        for garbage in (*(text.encode() for text in GARBAGE), b"\xff\xfe\0"):
            path.write_bytes(garbage)
            look()
        path.unlink()
        path.symlink_to(path.name)
        look()
        path.unlink()
        path.mkdir()
        look()
        path.rmdir()
        path.write_bytes(said)


def test_rails_are_added_where_none_is_the_input(tmp_path: Path) -> None:
    monitor = "sys/class/hwmon/hwmon2"
    files = {f"{monitor}/name": "ina3221"}
    for number, label, millivolts, milliamperes in ((1, "CPU", 5000, 400), (2, "GPU", 5000, 200), (3, "NC", 5000, 900)):
        files |= {f"{monitor}/in{number}_label": label, f"{monitor}/in{number}_input": str(millivolts),
                  f"{monitor}/curr{number}_input": str(milliamperes)}  # fmt: skip
    assert Rails(write(tmp_path, files)).power_w() == pytest.approx(3.0)


def test_the_load_is_the_share_of_time_since_the_last_reading(tmp_path: Path) -> None:
    write(tmp_path, {"proc/stat": "cpu  100 0 100 700 100 0 0 0 0 0"})
    load = sensors.Load(tmp_path)
    assert load.percent() is None
    write(tmp_path, {"proc/stat": "cpu  140 0 120 760 180 0 0 0 0 0"})
    assert load.percent() == 30.0
    write(tmp_path, {"proc/stat": "cpu  150 0 120 760 160 0 0 0 0 0"})
    assert load.percent() is None, "time went backwards"
    write(tmp_path, {"proc/stat": "cpu  250 0 120 760 150 0 0 0 0 0"})
    assert load.percent() == 100.0, "the count of waiting may go down, and nothing is busier than always"
    write(tmp_path, {"proc/stat": "cpu  torn 0 120"})
    assert load.percent() is None


HERE = Path("/")


def test_on_the_machine_itself_psutil_and_the_kernel_say_the_same(tmp_path: Path) -> None:
    kernel = int(
        next(row for row in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in row).split()[1]
    )
    assert sensors.memory_available_bytes(HERE) == pytest.approx(kernel * 1024, rel=0.2)
    disk = shutil.disk_usage(tmp_path)
    assert sensors.storage_bytes(tmp_path / "not" / "made") == disk.total
    assert sensors.storage_free_bytes(tmp_path) == pytest.approx(disk.free, rel=0.1)
    load = sensors.Load(HERE)
    sum(range(2_000_000))
    percent = load.percent()
    assert percent is None or 0 <= percent <= 100
    assert (sensors.agent_memory_bytes() or 0) > 1_000_000


def test_what_our_own_readers_do_not_find_here_is_asked_of_psutil(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sensors, "matching", lambda root, pattern: [])
    row, battery = SimpleNamespace(current=61.5), SimpleNamespace(percent=44.4, power_plugged=False)
    chips = {"coretemp": [row], "nvme": [SimpleNamespace(current=80.0)]}
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: chips, raising=False)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert sensors.temperature_c(HERE) == 61.5 and sensors.battery(HERE) == (44.4, False)
    assert sensors.temperature_c(tmp_path) is None and sensors.battery(tmp_path) == (None, None)


def test_a_machine_on_which_psutil_cannot_read_falls_back_or_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError("not here")

    for name in ("virtual_memory", "cpu_times", "sensors_temperatures", "sensors_battery"):
        monkeypatch.setattr(psutil, name, refuse, raising=False)
    assert sensors.memory_available_bytes(HERE) is not None
    monkeypatch.setattr(sensors, "matching", lambda root, pattern: [])
    assert sensors.temperature_c(HERE) is None and sensors.battery(HERE) == (None, None)


def test_rails_of_jetpack_4_are_read_from_nvidia_s_own_driver_by_either_name_of_its_folder(tmp_path: Path) -> None:
    for folder, chips in (("iio:device0", ("1-0040", "1-0041")), ("iio_device", ("7-0040",))):
        for chip in chips:
            at = f"sys/bus/i2c/drivers/ina3221x/{chip}/{folder}"
            write(tmp_path / folder, {f"{at}/rail_name_0": f"CPU-{chip}", f"{at}/in_power0_input": "1159",
                                      f"{at}/rail_name_1": "NC", f"{at}/in_power1_input": "90",
                                      f"{at}/rail_name_2": "SOC", f"{at}/in_power2_input": "nonsense"})  # fmt: skip
        assert Rails(tmp_path / folder).power_w() == pytest.approx(1.159 * len(chips)), folder


def test_a_sensor_whose_module_comes_later_or_changes_its_number_is_found(tmp_path: Path) -> None:
    rails = Rails(tmp_path)
    assert rails.power_w() is None
    for number in (1, 2):
        at = f"sys/class/hwmon/hwmon{number}"
        write(tmp_path, {f"{at}/name": "ina3221", f"{at}/in1_label": "VDD_IN", f"{at}/in1_input": "5000",
                         f"{at}/curr1_input": f"{number}000"})  # fmt: skip
        assert rails.power_w() == 5.0 * number
        shutil.rmtree(tmp_path / at)
