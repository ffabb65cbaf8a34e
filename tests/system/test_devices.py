"""Devices that lack something: a battery, sensors, a clock, space."""

import json
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.fleet import SOUTH, WEST, Fleet, Member

from .conftest import MakeFleet

CLOCK_AT_1970 = Path(__file__).parents[1] / "fakes" / "clock_at_1970"


def test_a_device_without_battery_and_sensors_tells_nothing_of_them(fleet: Fleet) -> None:
    """Absent, never zero: a Pi 4 has neither a battery nor a power meter, a Pi Zero 2 W with a battery is another."""
    fleet.roll_out(fleet.release("mains"), [WEST, SOUTH])
    fleet.until("telemetry came", lambda: all(fleet.device(name)["power_source"] for name in fleet.members))
    four, zero = fleet.device("four"), fleet.device("zero")
    assert four["power_source"] == "mains"
    assert four["battery_percent"] is None and four["battery_charging"] is None and four["power_w"] is None
    assert zero["power_source"] == "battery" and zero["battery_percent"] == 87
    listed = {row["id"]: row for row in fleet.items("/v1/devices")}
    assert listed["four"]["battery_percent"] is None and listed["four"]["power_source"] == "mains"


def test_a_board_of_which_nothing_is_known_tells_of_no_sensor_and_serves(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet([Member("bare", board=str(tmp_path))])
    release = fleet.release()
    fleet.roll_out(release, [WEST])
    fleet.until("telemetry came", lambda: fleet.device("bare")["power_source"])
    shown = fleet.device("bare")
    for key in ("temperature_c", "battery_percent", "battery_charging", "power_w", "throttled", "cpu_percent"):
        assert shown[key] is None, key
    with fleet.load("bare") as load:
        assert load.ask() == release


def test_a_clock_at_1970_converges_and_its_telemetry_says_that_it_is_not_trusted(make_fleet: MakeFleet) -> None:
    fleet = make_fleet([Member("lost")], environments={"lost": {"PYTHONPATH": str(CLOCK_AT_1970)}})
    first, second = fleet.release(), fleet.release()
    fleet.roll_out(first, [WEST])
    fleet.roll_out(second, [WEST])
    said = fleet.status("lost")
    assert said["at_s"] < 86400, "the clock is not the one that this test is about"
    assert said["trust_problem"] is None
    with fleet.load("lost") as load:
        assert load.ask() == second
    fleet.until("telemetry came", lambda: fleet.model("lost")["latency_p50_s"] is not None)
    assert all(not window["clock_trusted"] for window in windows(fleet, "lost"))


def windows(fleet: Fleet, name: str) -> list[dict[str, object]]:
    """Return the next telemetry windows that a device sends, as they are on the wire."""
    with fleet.intruder() as intruder:
        batch = intruder.next(fleet.topics.of_device(name, "telemetry"))
    found: list[dict[str, object]] = json.loads(zlib.decompress(batch))["windows"]
    assert found
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB. Mounting needs root; without it this fails, for a test that is not run shows nothing."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("left_bytes", [1_200_000, 0], ids=["less than the release needs", "nothing at all"])
def test_a_full_disk_keeps_the_active_model_serving_and_converges_when_space_is_freed(
    make_fleet: MakeFleet, small_disk: Path, left_bytes: int
) -> None:
    fleet = make_fleet([Member("full")], state_folders={"full": small_disk / "state"}, reserve_bytes=500_000)
    first = fleet.release(ballast=200_000)
    fleet.roll_out(first, [WEST])
    second = fleet.release(ballast=600_000)
    fill(small_disk / "something-else", left_bytes)
    with fleet.load("full") as load:
        # An agent looks at the disk's size every few seconds: this many answers take longer than that.
        fleet.until("it has looked again", lambda: load.answered > 150)
        fleet.begin(second, [WEST])
        fleet.until("status says it", lambda: "no space" in reasons(fleet))
        fleet.until("the server knows it", lambda: known(fleet))
        so_far = load.answered
        fleet.until("it goes on serving", lambda: load.answered > so_far + 20)
        (small_disk / "something-else").unlink()
        fleet.until_complete(second, [WEST])
    assert load.failures == [] and set(load.by_release) == {first, second}
    assert len(known(fleet)) == 1, known(fleet)


def fill(file: Path, left_bytes: int) -> None:
    """Fill the disk until so many bytes are left."""
    free = shutil.disk_usage(file.parent).free - left_bytes
    with file.open("wb") as ballast:
        ballast.write(bytes(max(0, free)))


def reasons(fleet: Fleet) -> str:
    """What the device's status says that it waits for."""
    said = fleet.status("full")
    return " ".join([said["trust_problem"] or "", *(row["why"] for row in said["models"])]).lower()


def known(fleet: Fleet) -> list[str]:
    """What the server was told of it by events."""
    return fleet.events("full", "no-space")
