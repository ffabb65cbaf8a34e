"""Real workers that hang, whose runtime is broken, or that the kernel should end first; and engines built in a trial."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet_agent.seams import TrialReport, WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher, ProcessWorker
from edgefleet_agent.tuning import Tune
from tests.fakes.served import ROGUE, ask_golden, ready, report, rogue, until, write_model


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[ProcessLauncher]:
    """The real thing, with runtimes that misbehave beside the real one."""
    made = ProcessLauncher(tmp_path / "run", command=(sys.executable, str(ROGUE)))
    yield made
    made.close()


def serving(launcher: ProcessLauncher, spec: WorkerSpec) -> ProcessWorker:
    worker = launcher.start(spec)
    ready(worker)
    worker.accept()
    return worker


def test_an_inference_that_does_not_end_is_told_with_its_age_and_the_worker_is_killed_with_the_reason(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    spec = rogue(write_model(tmp_path), "hangs")
    worker = serving(launcher, spec)
    assert worker.served().busy_s is None
    threading.Thread(target=ask_golden, args=(launcher, spec, 60.0), daemon=True).start()
    until(lambda: (worker.served().busy_s or 0.0) > 0.0, "it is busy")
    worker.kill("hung: for too long")
    assert worker.poll() == "dead" and worker.why_dead() == "hung: for too long"
    assert worker.blame() == "variant"


def test_a_worker_that_answers_nothing_is_silent_and_one_that_answers_again_is_not(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    worker = serving(launcher, write_model(tmp_path))
    os.kill(worker.pid, signal.SIGSTOP)
    worker.served()
    silent = worker.served()
    assert silent.silent_asks == 2 and silent.silent_s > 0.0
    os.kill(worker.pid, signal.SIGCONT)
    until(lambda: worker.served().silent_asks == 0, "it answers again")


@pytest.mark.parametrize("behaviour", ["no-module", "illegal-import"])
def test_a_runtime_that_cannot_be_imported_is_blamed_in_trial_and_in_serving(
    launcher: ProcessLauncher, tmp_path: Path, behaviour: str
) -> None:
    spec = rogue(write_model(tmp_path), behaviour)
    found = report(launcher.try_out(spec, 60.0))
    assert (found.ok, found.blame) == (False, "runtime")
    assert f"the runtime {behaviour} cannot be imported" in found.reason
    worker = launcher.start(spec)
    until(lambda: worker.poll() == "dead", "it ends")
    assert worker.blame() == "runtime" and "cannot be imported" in worker.why_dead()


def test_s35_an_instruction_that_this_cpu_lacks_is_the_variants_fault(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    found = report(launcher.try_out(rogue(write_model(tmp_path), "illegal"), 60.0))
    assert (found.ok, found.blame) == (False, "variant") and "SIGILL" in found.reason


def test_s32_when_memory_runs_out_the_trial_goes_first_then_the_worker_and_the_agent_last(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    def score(pid: str) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    worker = serving(launcher, write_model(tmp_path))
    trial = launcher.try_out(rogue(write_model(tmp_path / "new"), "never-opens"), 60.0)
    other = trial._process.pid
    until(lambda: score(str(other)) > score(str(worker.pid)) > score("self"), "the scores are in order")
    os.kill(other, signal.SIGKILL)  # as the kernel does
    found = report(trial)
    assert not found.ok and found.reason == "killed by SIGKILL: by the kernel for want of memory, or by hand"
    assert ask_golden(launcher, write_model(tmp_path), 30.0) is None


def test_an_engine_is_built_slowly_in_the_trial_and_only_read_in_serving(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    engines = tmp_path / "engines"
    engines.mkdir()
    spec = replace(rogue(write_model(tmp_path), "builds"), engines=engines)
    refused = launcher.start(spec)
    until(lambda: refused.poll() == "dead", "it ends")
    assert "none is built in serving" in refused.why_dead()
    report(launcher.try_out(replace(spec, tune=Tune()), 60.0))  # its answers are wrong; its engine is there
    assert (engines / "model.engine").read_text() == "image:1x12 of model.onnx"
    ready(launcher.start(spec))


def test_a_trial_tells_how_its_sessions_are_best_set_up_here(launcher: ProcessLauncher, tmp_path: Path) -> None:
    found: TrialReport = report(launcher.try_out(replace(write_model(tmp_path), tune=Tune(most_threads=2)), 60.0))
    assert found.ok, found.reason
    # So small a model is not faster with more threads by as much as they must be.
    assert found.tuning is not None and not found.tuning.spinning
    assert "thread" in found.tuning_why and "ms" in found.tuning_why
    worker = serving(launcher, replace(write_model(tmp_path), tuning=found.tuning))
    assert worker.poll() == "ready"
