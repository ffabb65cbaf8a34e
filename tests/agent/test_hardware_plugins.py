"""Sensors that others bring: read where they answer, absent where they do not, and never a harm."""

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgefleet_agent.hardware import ups
from edgefleet_agent.hardware.plugins import Plugins, Reading, find


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, as long as it takes."""
    while not holds():
        threading.Event().wait(0.005)


def test_a_plug_in_that_hangs_or_raises_hides_no_other_and_never_makes_the_agent_wait(tmp_path: Path) -> None:
    never = threading.Event()

    def hangs(root: Path) -> None:
        never.wait()

    def raises(root: Path) -> None:
        raise RuntimeError("no such chip")

    def wrong(root: Path) -> Reading:
        return "full"  # type: ignore[return-value]

    row = Reading(battery_percent=50.0)
    made = Plugins({"a": hangs, "b": raises, "c": wrong, "d": lambda root: row}, tmp_path, every_s=0.01)
    until(lambda: made.read() is not None and "b" in made.troubles)
    assert made.read() == ("d", row)
    assert made.troubles == {"b": "RuntimeError: no such chip"}
    never.set()


def test_s36_a_hat_that_appears_later_is_read_from_then_on_and_one_that_went_is_absent(tmp_path: Path) -> None:
    here: list[Reading | None] = [None]
    made = Plugins({"ups": lambda root: here[0]}, tmp_path, every_s=0.01)
    assert made.read() is None
    here[0] = Reading(battery_percent=80.0, battery_charging=True)
    until(lambda: made.read() is not None)
    here[0] = None
    until(lambda: made.read() is None)


def test_plug_ins_that_nobody_named_are_not_loaded_and_one_that_is_not_there_is_said() -> None:
    assert find(()) == ({}, ())
    found, troubles = find(("no-such-sensor",))
    assert not found and "no sensor plug-in is called no-such-sensor" in troubles[0]


def test_pisugar_is_asked_over_its_socket(tmp_path: Path) -> None:
    assert ups.pisugar(tmp_path) is None
    (tmp_path / "tmp").mkdir()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / ups.PISUGAR))
    server.listen()

    def answer() -> None:
        for _ in range(2):
            client, _ = server.accept()
            asked = client.recv(64).decode().split()[1]
            client.sendall(
                {"battery": b"battery: 84.52\n", "battery_power_plugged": b"battery_power_plugged: false\n"}[asked]
            )
            client.close()

    thread = threading.Thread(target=answer)
    thread.start()
    assert ups.pisugar(tmp_path) == Reading(battery_percent=84.5, battery_charging=False)
    thread.join()
    server.close()


def test_chips_are_decoded_as_their_data_sheets_say() -> None:
    assert ups.of_max17043(lambda number: {4: b"\x57\x80"}[number]) == Reading(battery_percent=87.5)
    # 7.6 V of two cells, 0.5 A out of the battery over 0.1 ohm: -50 mV.
    low = {2: (1900 << 3).to_bytes(2, "big"), 1: (-5000).to_bytes(2, "big", signed=True)}
    assert ups.of_ina219(low.__getitem__) == Reading(battery_percent=66.7, battery_charging=False, power_w=3.8)
    full = {2: (1060 << 3).to_bytes(2, "big"), 1: (2000).to_bytes(2, "big", signed=True)}
    assert ups.of_ina219(full.__getitem__) == Reading(battery_percent=100.0, battery_charging=True)


def test_a_bus_that_is_none_and_a_board_without_a_bus_have_no_battery(tmp_path: Path) -> None:
    assert ups.ina219(tmp_path) is None
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/i2c-1").write_bytes(b"")
    assert ups.ina219(tmp_path) is None and ups.max17043(tmp_path) is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Reading(battery_percent=250.0), "battery_percent is 250"),
        (Reading(battery_percent="80"), "battery_percent is '80'"),  # type: ignore[arg-type]
        (Reading(battery_percent=float("nan")), "battery_percent is nan"),
        (Reading(power_w=1e300), "power_w is 1e+300"),
        (Reading(battery_charging="yes"), "battery_charging is 'yes'"),  # type: ignore[arg-type]
    ],
)
def test_what_a_plug_in_cannot_mean_is_no_reading_and_is_said(tmp_path: Path, row: Reading, words: str) -> None:
    made = Plugins({"odd": lambda root: row}, tmp_path, every_s=0.01)
    until(lambda: "odd" in made.troubles)
    assert words in made.troubles["odd"] and made.read() is None
