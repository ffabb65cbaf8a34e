"""The small parts of a simulation: the mix, the disk, the stages, the sums."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgefleet_sim.boards import MIX, board_of, hardware
from edgefleet_sim.commands import main
from edgefleet_sim.disk import MemoryDisk
from edgefleet_sim.fleet import spread
from edgefleet_sim.launcher import MAX_REQUESTS_A_READ, REQUESTS_PER_S, VirtualLauncher
from edgefleet_sim.orders import Count, add
from edgefleet_sim.run import Outcome, _later, stages_for
from edgefleet_sim.scenarios import SCENARIOS, Blow, named
from edgefleet_sim.world import NoMosquitto, World


def test_every_hundred_devices_have_the_mix_of_boards():
    for start in (0, 300):
        counts = Counter(board_of(number).sample for number in range(start, start + 100))
        assert counts == {board.sample: round(100 * board.share) for board in MIX}


def test_a_board_is_what_the_agents_probe_reads():
    assert hardware("pi-zero-2-w").hardware_class == "pi-zero-2-w"
    assert hardware("orin-nano").memory_bytes > hardware("pi4").memory_bytes / 2


def test_a_disk_gives_back_what_was_written_under_every_name():
    disk = MemoryDisk()
    assert disk.mkdir(Path("/state"))
    assert not disk.mkdir(Path("/state"))
    disk.mkdir(Path("/state/slots"))
    disk.mkdir(Path("/state/slots/new"))
    disk.write(Path("/state/slots/new/model.bin"), b"abc")
    disk.rename(Path("/state/slots/new"), Path("/state/slots/one"))
    disk.append(Path("/state/slots/one/model.bin"), b"d")
    assert disk.list(Path("/state")) == ["slots"]
    assert disk.list(Path("/state/slots")) == ["one"]
    assert disk.read(Path("/state/slots/one/model.bin")) == b"abcd"
    clone = disk.copy()
    disk.remove_tree(Path("/state/slots"))
    assert disk.size(Path("/state/slots/one/model.bin")) is None
    assert clone.size(Path("/state/slots/one/model.bin")) == 4
    with pytest.raises(FileNotFoundError):
        disk.read(Path("/state/nothing"))


def test_a_worker_serves_at_the_rate_that_is_said_however_often_it_is_read():
    disk, path, at = MemoryDisk(), Path("/model.bin"), [0.0]
    disk.mkdir(Path("/"))
    disk.write(path, b'{"release": "fashion/1", "variant": "int8", "base_s": 0.01}\n')
    launcher = VirtualLauncher(disk, 1.0, lambda: at[0], set())
    worker = launcher.start(SimpleNamespace(model_path=path, release="fashion/1"))
    worker.accept()
    served = 0
    for step in range(1, 1001):
        at[0] = step * 1.3
        served += worker.served().requests
    assert served == pytest.approx(1300 * REQUESTS_PER_S, abs=1)
    at[0] += 3600.0
    assert worker.served().requests == MAX_REQUESTS_A_READ
    at[0] += 1.0
    assert worker.served().requests == REQUESTS_PER_S, "what was too much for one read never came"


def test_what_all_devices_hold_is_held_once():
    one, two = MemoryDisk(), MemoryDisk()
    for disk in (one, two):
        disk.write(Path("/state/chunks/aa"), bytes(bytearray(b"same bytes")))
    assert one.read(Path("/state/chunks/aa")) is two.read(Path("/state/chunks/aa"))


@pytest.mark.parametrize("devices", [8, 50, 1000, 10_000])
def test_stages_rise_and_end_with_everyone(devices):
    stages = stages_for((1.0, 10.0, 100.0), devices)
    assert list(stages) == sorted(set(stages))
    assert stages[-1] == 100.0
    assert devices < 800 or stages == (1.0, 10.0, 100.0)


def test_a_share_of_the_devices_is_spread_over_them():
    assert spread(tuple(range(100)), 5.0) == (0, 20, 40, 60, 80)
    assert spread(tuple(range(10)), 1.0) == (0,)


def test_counts_of_crowds_add_up():
    both = add(
        [Count(devices=2, proven={"a": 1}, back_s=[2.0]), Count(devices=3, proven={"a": 2, "b": 1}, back_s=[1.0])]
    )
    assert (both.devices, both.proven, both.back_s) == (5, {"a": 3, "b": 1}, [1.0, 2.0])


def test_every_scenario_is_listed_and_found_by_its_name(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    for scenario in SCENARIOS:
        assert named(scenario.name) is scenario
        assert f"{scenario.name} " in listed


@pytest.mark.parametrize(
    ("words", "said"), [(["--scenario", "storm"], "there is no scenario"), (["--devices", "0"], "--devices is 0")]
)
def test_what_cannot_be_run_is_refused_with_the_reason(words, said, capsys):
    assert main(["run", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_blow_that_does_not_end_as_it_should_is_told_in_the_outcome():
    def start_server():
        raise RuntimeError("server ended by itself with 2")

    outcome, said = Outcome("restart-server", 10), []
    outcome.check("the rollout ends complete", True, "complete")
    world = SimpleNamespace(server=SimpleNamespace(kill=lambda: None), start_server=start_server)
    _later(Blow("kill-server", 0.0, down_s=0.0), world, None, outcome, said.append)
    assert not outcome.held
    assert outcome.checks[-1][2] == "server ended by itself with 2"


def test_without_mosquitto_a_run_says_so_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(NoMosquitto, match="apt install mosquitto"):
        World()
    assert list(tmp_path.iterdir()) == []
