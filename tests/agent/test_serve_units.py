"""Workers that systemd starts in units of their own do what children do."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefleet_agent.serve.errors import NoUnit
from edgefleet_agent.serve.launcher import ProcessLauncher, ProcessWorker
from edgefleet_agent.serve.probing import AGAIN_S, limits_in_unit
from tests.fakes.served import ask_golden, ready, report, rogue, until, write_model
from tests.fakes.socket_unit import SocketUnit

ALLOWED_S = 60.0


@pytest.fixture
def unit(tmp_path: Path) -> Iterator[SocketUnit]:
    with SocketUnit(tmp_path) as made:
        yield made


@pytest.fixture
def launcher(unit: SocketUnit, tmp_path: Path) -> Iterator[ProcessLauncher]:
    made = ProcessLauncher(tmp_path / "run", door=unit.door)
    yield made
    made.close()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_model_is_tried_and_served_by_processes_that_are_no_children(
    launcher: ProcessLauncher, unit: SocketUnit, tmp_path: Path
) -> None:
    spec = write_model(tmp_path / "model")
    trial = launcher.try_out(spec, ALLOWED_S)
    until(lambda: trial.poll() is not None, "the trial ends")
    report = trial.poll()
    assert report is not None and report.ok, report
    worker = launcher.start(spec)
    ready(worker)
    worker.accept()
    assert parent(worker.pid) in {shell.pid for shell in unit.shells} and parent(worker.pid) != os.getpid()
    assert ask_golden(launcher, spec, ALLOWED_S) is None
    assert worker.served().requests > 0 and (worker.served().memory_bytes or 0) > 0
    worker.stop(0.1)
    until(lambda: worker.poll() == "dead", "the worker ends")
    assert worker.why_dead() == "ended with exit code 0"


def test_a_worker_tells_its_memory_where_the_kernel_tells_the_agent_nothing(
    launcher: ProcessLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As with PrivateUsers= of a real unit, whose namespace of users is root's.
    monkeypatch.setattr("edgefleet_agent.serve.launcher.pss_bytes", lambda process: None)
    worker = launcher.start(write_model(tmp_path / "model"))
    ready(worker)
    assert (worker.served().memory_bytes or 0) > 1_000_000


def test_how_a_worker_ended_is_told_though_it_is_nobodys_child_here(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = launcher.start(write_model(tmp_path / "model"))
    ready(worker)
    os.kill(worker.pid, signal.SIGSEGV)
    until(lambda: worker.poll() == "dead", "the worker ends")
    assert worker.why_dead().startswith("killed by SIGSEGV: a crash inside the runtime")


def test_a_worker_whose_runtime_is_not_there_says_so_in_its_own_words(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    trial = launcher.try_out(rogue(write_model(tmp_path / "model"), "none-such"), ALLOWED_S)
    until(lambda: trial.poll() is not None, "the trial ends")
    report = trial.poll()
    assert report is not None and not report.ok and "none-such" in report.reason


def test_the_agent_ends_one_at_once(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = launcher.start(write_model(tmp_path / "model"))
    worker.kill("by hand, before it said a word")
    assert worker.poll() == "dead" and worker.why_dead() == "by hand, before it said a word"
    other = launcher.start(write_model(tmp_path / "model"))
    ready(other)
    pid = other.pid
    other.kill("by hand")
    until(lambda: other.poll() == "dead", "the worker ends")
    until(lambda: not Path(f"/proc/{pid}").exists(), "the process is gone")


def test_a_trial_ends_when_its_agent_does(launcher: ProcessLauncher, unit: SocketUnit, tmp_path: Path) -> None:
    trial = launcher.try_out(write_model(tmp_path / "model"), ALLOWED_S)
    process = trial._process

    def known() -> bool:
        return process._child.poll() is not None or process.pid > 0

    until(known, "its process is known")
    process.channel.close()
    until(lambda: not process.alive, "the trial ends")
    assert process.words().startswith(("killed by SIGIO", "ended with exit code"))


def test_where_no_unit_can_be_had_workers_are_children_and_it_is_not_asked_at_each_start(tmp_path: Path) -> None:
    with pytest.raises(NoUnit, match="No such file"):
        limits_in_unit(tmp_path / "door")
    for program in (None, "raise SystemExit(1)"):
        launcher = ProcessLauncher(tmp_path / "run", door=tmp_path / "door")
        with SocketUnit(tmp_path, program) if program else contextlib.nullcontext() as unit:
            for _ in range(2):
                assert parent(started(launcher, tmp_path).pid) == os.getpid()
            assert unit is None or len(unit.shells) == 1
        assert launcher.limits_held()["orphan"] == "killed with the agent"
        launcher.close()


def test_units_that_can_be_had_later_are_taken_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = ProcessLauncher(tmp_path / "run", door=tmp_path / "door")
    assert parent(started(launcher, tmp_path).pid) == os.getpid()
    with SocketUnit(tmp_path) as unit:
        assert parent(started(launcher, tmp_path).pid) == os.getpid(), "it was asked a moment ago"
        monkeypatch.setattr(time, "monotonic", lambda real=time.monotonic: real() + AGAIN_S)
        assert parent(started(launcher, tmp_path).pid) in {shell.pid for shell in unit.shells}
        assert launcher.limits_held()["orphan"] == "ends when its line to the agent does"
        launcher.close()


def started(launcher: ProcessLauncher, folder: Path) -> ProcessWorker:
    worker = launcher.start(write_model(folder / "model"))
    ready(worker)
    return worker


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("raise SystemExit(1)", "systemd closed the line to it without a word"),
        (
            "import os, sys; os.write(int(sys.argv[1]), b'127')",
            "it ended with exit code 127 before the worker's first word",
        ),
        ("import time; time.sleep(60)", "it had not begun after 1 s"),
    ],
)
def test_a_unit_that_never_begins_is_told_so_and_the_next_worker_is_a_child(
    launcher: ProcessLauncher,
    unit: SocketUnit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    words: str,
) -> None:
    assert launcher.limits_held()["orphan"] == "ends when its line to the agent does"
    unit.program = program
    monkeypatch.setattr("edgefleet_agent.serve.units.BEGIN_S", 1.0)
    worker = launcher.start(write_model(tmp_path / "model"))
    until(lambda: worker.poll() == "dead", "the worker is known to be none")
    assert worker.blame() == "runtime"
    assert worker.why_dead().startswith(f"systemd began no unit for it: {words}; journalctl -u 'edgefleet-worker@*'")
    assert parent(started(launcher, tmp_path).pid) == os.getpid()
    assert launcher.limits_held()["orphan"] == "killed with the agent"


def test_a_trial_whose_unit_never_begins_is_not_the_variants_fault(
    launcher: ProcessLauncher, unit: SocketUnit, tmp_path: Path
) -> None:
    launcher.limits_held()
    unit.program = "raise SystemExit(1)"
    found = report(launcher.try_out(write_model(tmp_path / "model"), ALLOWED_S))
    assert found.blame == "runtime" and found.reason.startswith("systemd began no unit for it")


def test_a_door_that_is_gone_later_makes_children_too(
    launcher: ProcessLauncher, unit: SocketUnit, tmp_path: Path
) -> None:
    held = launcher.limits_held()
    assert held["orphan"] == "ends when its line to the agent does"
    unit.door.unlink()
    assert parent(started(launcher, tmp_path).pid) == os.getpid()
    assert launcher.limits_held()["orphan"] == "killed with the agent"


def test_one_that_must_know_who_asks_is_a_child(unit: SocketUnit, tmp_path: Path) -> None:
    from edgefleet_agent.serve.sockets import Access

    access = Access(loopback=False, allow_uids=(os.getuid(),))
    launcher = ProcessLauncher(tmp_path / "run", door=unit.door, access=access)
    assert parent(started(launcher, tmp_path).pid) == os.getpid()
    launcher.close()
