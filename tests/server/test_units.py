"""The device's units hold together, and keep to their scores wherever there is a systemd to say them."""

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from edgefleet_agent.serve.probing import DOOR, PACKAGED_DOOR

UNITS = Path(__file__).parents[2] / "deploy/systemd"
DEBIAN = UNITS.parent / "debian"


def read(name: str) -> dict[str, list[str]]:
    """Return the values of each key of a unit."""
    found = defaultdict(list)
    for line in (UNITS / name).read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and re.fullmatch(r"[A-Za-z0-9]+", key):
            found[key].append(value)
    return found


@pytest.mark.parametrize(("unit", "most"), [("edgefleet-agent.service", 2.0), ("edgefleet-worker@.service", 0.6)])
def test_what_a_unit_leaves_open_is_at_most_so_much(unit: str, most: float) -> None:
    rows = read(unit)
    for key in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "LockPersonality", "ProtectKernelTunables"):
        assert rows[key] == ["yes"], key
    assert rows["ProtectSystem"] == ["strict"] and rows["CapabilityBoundingSet"] == [""]
    if shutil.which("systemd-analyze") is None:
        return
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=yes", str(UNITS / unit)],
        capture_output=True, text=True,
    )  # fmt: skip
    score = re.search(r"level for \S+: ([0-9.]+)", done.stdout)
    assert score is not None, done.stderr
    assert float(score[1]) <= most


def test_the_agent_asks_for_workers_where_the_socket_unit_listens() -> None:
    door = read("edgefleet-worker.socket")["ListenSequentialPacket"]
    assert read("edgefleet-agent.service")["Environment"] == [f"{DOOR}={door[0]}"]
    assert door == [str(PACKAGED_DOOR)]
    assert read("edgefleet-worker.socket")["SocketUser"] == read("edgefleet-agent.service")["User"]
    assert read("edgefleet-worker@.service")["User"] == read("edgefleet-agent.service")["User"]


def test_a_worker_can_reach_no_network_and_no_key_of_the_device() -> None:
    rows = read("edgefleet-worker@.service")
    assert rows["PrivateNetwork"] == ["yes"] and rows["RestrictAddressFamilies"] == ["none"]
    assert "-/var/lib/edgefleet/identity" in rows["InaccessiblePaths"][0].split()


def test_so_many_sockets_are_kept_as_a_device_of_thirty_models_has() -> None:
    assert int(read("edgefleet-agent.service")["FileDescriptorStoreMax"][0]) >= 2 * 30 + 1


def test_every_unit_of_the_device_is_in_its_package() -> None:
    packed = (UNITS.parents[1] / "scripts/build-deb").read_text()
    of_the_server = ("edgefleet-server.service", "edgefleet-api.service")
    for unit in UNITS.iterdir():
        assert unit.name in of_the_server or f'"{unit.name}"' in packed, unit.name


@pytest.mark.parametrize("script", [*sorted(path.name for path in DEBIAN.glob("*inst")), "prerm", "postrm"])
def test_the_scripts_of_the_packages_are_whole(script: str) -> None:
    assert subprocess.run(["sh", "-n", str(DEBIAN / script)], capture_output=True).returncode == 0


def test_the_man_page_has_every_verb_and_every_unit_that_a_person_enables() -> None:
    script = UNITS.parents[1] / "scripts/man_page.py"
    page = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    for verb in ("run", "status", "explain", "check", "diag", "pin", "enrol", "seal"):
        assert f"\n.SS {verb}\n" in page, verb
    assert "%(default)" not in page and "edgefleet\\-model@MODEL.socket" in page
