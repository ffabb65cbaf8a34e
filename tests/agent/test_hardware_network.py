"""Which interface is the way out, and how much tasks wait for memory, read from trees as boards have them."""

from pathlib import Path

import pytest

from edgefleet_agent.hardware.network import way_out
from edgefleet_agent.hardware.pressure import memory_pressure_percent

HEAD = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
WIFI = "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
CABLE = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
DOWN = "wwan0\t00000000\t0101A8C0\t0002\t0\t0\t1\t00000000\t0\t0\t0\n"
LOCAL = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
SIX = f"{'0' * 32} 00 {'0' * 32} 00 {'f' * 32} 00000400 00000001 00000000 00000003 eth1\n"


def tree(root: Path, name: str, text: str) -> Path:
    """Write one file of /proc below `root`."""
    path = root / "proc" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("routes", "out"),
    [
        (HEAD + WIFI + CABLE, "eth0"),
        (HEAD + DOWN + WIFI, "wlan0"),
        (HEAD + LOCAL, None),
        (HEAD + "a torn line\n", None),
        ("", None),
    ],
)
def test_the_way_out_is_the_default_route_that_is_up_with_the_lowest_metric(
    tmp_path: Path, routes: str, out: str | None
) -> None:
    assert way_out(tree(tmp_path, "net/route", routes)) == out


def test_a_board_with_ipv6_only_has_a_way_out_and_one_without_routes_has_none(tmp_path: Path) -> None:
    assert way_out(tmp_path) is None
    assert way_out(tree(tmp_path, "net/ipv6_route", SIX)) == "eth1"


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("some avg10=12.50 avg60=1.00 avg300=0.10 total=9\nfull avg10=3.00 avg60=0 avg300=0 total=1\n", 12.5),
        ("some avg10=nonsense avg60=1.00\n", None),
        ("full avg10=3.00\n", None),
        ("", None),
    ],
)
def test_memory_pressure_is_what_the_kernel_says_and_nothing_where_it_says_nothing(
    tmp_path: Path, text: str, percent: float | None
) -> None:
    assert memory_pressure_percent(tree(tmp_path, "pressure/memory", text)) == percent
    assert memory_pressure_percent(tmp_path / "no-such-kernel") is None
