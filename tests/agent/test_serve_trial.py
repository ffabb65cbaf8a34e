"""A candidate is tried in a process of its own, and whatever it does, the agent gets a report in words."""

import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgefleet_agent.seams import TrialReport, WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_protocol.manifest import Tolerance
from tests.fakes.onnx_bytes import memory_bomb
from tests.fakes.served import CLASSES, FEATURES, ROGUE, report, rogue, write_model


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[ProcessLauncher]:
    """The real thing."""
    made = ProcessLauncher(tmp_path / "run")
    yield made
    made.close()


@pytest.fixture
def rogues(tmp_path: Path) -> Iterator[ProcessLauncher]:
    """The real thing, with runtimes that misbehave."""
    made = ProcessLauncher(tmp_path / "run", command=(sys.executable, str(ROGUE)))
    yield made
    made.close()


def tried(launcher: ProcessLauncher, spec: WorkerSpec, wall_limit_s: float = 60.0) -> TrialReport:
    """Try `spec` and return the report."""
    return report(launcher.try_out(spec, wall_limit_s))


def test_a_good_candidate_is_measured(launcher: ProcessLauncher, tmp_path: Path) -> None:
    found = tried(launcher, write_model(tmp_path))
    assert found.ok, found.reason
    assert found.latency_p50_s is not None and found.latency_p95_s is not None
    assert 0 < found.latency_p50_s <= found.latency_p95_s
    assert found.load_s is not None and found.load_s > 0
    assert found.memory_bytes is not None and 10e6 < found.memory_bytes < 200e6
    assert found.limits_held["network"] in ("namespace", "seccomp")
    assert found.limits_held["memory"] == "rlimit"
    assert found.limits_held["cpu"] == "rlimit"


def test_wrong_golden_answers_are_told_with_both_values(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    other = write_model(tmp_path / "other", seed=2)
    found = tried(launcher, replace(spec, golden_folder=other.golden_folder))
    assert not found.ok
    assert "differs by" in found.reason and "allowed 0.0001" in found.reason


def test_a_provider_without_a_tolerance_is_not_waved_through(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    golden = type(spec.golden)(outputs=spec.golden.outputs, tolerances=(Tolerance(provider="Other", max_abs=9.0),))
    found = tried(launcher, replace(spec, golden=golden))
    assert not found.ok and found.reason == "the release names no tolerance for CPUExecutionProvider"


def test_a_provider_that_is_not_there_is_named(launcher: ProcessLauncher, tmp_path: Path) -> None:
    found = tried(launcher, replace(write_model(tmp_path), provider="CUDAExecutionProvider"))
    assert not found.ok and "CUDAExecutionProvider" in found.reason


def test_a_model_whose_bytes_are_not_those_that_were_signed_is_not_opened(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    spec = write_model(tmp_path)
    spec.model_path.write_bytes(spec.model_path.read_bytes() + b"\0")
    found = tried(launcher, spec)
    assert not found.ok and "has the SHA-256" in found.reason


def test_a_model_behind_a_link_is_not_opened(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    elsewhere = tmp_path / "elsewhere.onnx"
    spec.model_path.rename(elsewhere)
    spec.model_path.symlink_to(elsewhere)
    found = tried(launcher, spec)
    assert not found.ok and "no regular file" in found.reason


def test_a_file_that_is_no_model_is_refused_before_the_runtime_sees_it(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    found = tried(launcher, write_model(tmp_path, model=b"\x08\x08" + b"\x12\x00" * 8))
    assert not found.ok and "is not given to a runtime" in found.reason


def test_a_model_with_another_interface_is_refused(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    image = replace_name(spec, "picture")
    found = tried(launcher, image)
    assert not found.ok and "the interface has ['picture']" in found.reason


def replace_name(spec: WorkerSpec, name: str) -> WorkerSpec:
    """Return `spec` whose interface calls its input `name`."""
    first = spec.interface.inputs[0]
    renamed = type(first)(name=name, datatype=first.datatype, shape=first.shape)
    interface = type(spec.interface)(task="other", inputs=(renamed,), outputs=spec.interface.outputs)
    return replace(spec, interface=interface)


def test_a_model_that_asks_for_more_memory_than_its_release_allows_fails_and_harms_nobody(
    launcher: ProcessLauncher, tmp_path: Path
) -> None:
    found = tried(launcher, write_model(tmp_path, model=memory_bomb(FEATURES, CLASSES, gigabytes=4)))
    assert not found.ok
    assert found.reason == "it needs more memory than the 200 MB that its release allows"


def test_a_model_that_uses_more_memory_than_its_release_says_fails(launcher: ProcessLauncher, tmp_path: Path) -> None:
    found = tried(launcher, replace(write_model(tmp_path), memory_limit_bytes=20_000_000))
    assert not found.ok
    assert "of memory and its release allows 20.0 MB" in found.reason, found.reason


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("illegal", "killed by SIGILL: an instruction this CPU lacks"),
        ("exits", "ended with exit code 7; its last words: the sky fell"),
        ("leaks", "it needs more memory than the 200 MB that its release allows"),
    ],
)
def test_a_death_is_told_in_words(rogues: ProcessLauncher, tmp_path: Path, behaviour: str, words: str) -> None:
    found = tried(rogues, rogue(write_model(tmp_path), behaviour))
    assert not found.ok and found.reason == words


def test_using_more_cpu_than_allowed_is_told(rogues: ProcessLauncher, tmp_path: Path) -> None:
    found = tried(rogues, replace(rogue(write_model(tmp_path), "spins"), cpu_limit_s=2))
    assert not found.ok and found.reason == "killed by SIGXCPU: used more than 2 s of CPU"


@pytest.mark.parametrize("behaviour", ["hangs", "never-opens"])
def test_hanging_beyond_the_wall_limit_is_told(rogues: ProcessLauncher, tmp_path: Path, behaviour: str) -> None:
    found = tried(rogues, rogue(write_model(tmp_path), behaviour), wall_limit_s=2.0)
    assert not found.ok and "took longer than 2 s" in found.reason


def test_a_trial_cannot_reach_the_network(rogues: ProcessLauncher, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as home:
        spec = write_model(tmp_path)
        (spec.model_path.parent / "home").write_text(str(home.getsockname()[1]))
        found = tried(rogues, rogue(spec, "calls-home"))
        assert found.reason.startswith("no way out: "), found.reason
        home.setblocking(False)
        with pytest.raises(BlockingIOError):
            home.accept()


def test_a_stopped_trial_is_gone_and_leaves_no_zombie(rogues: ProcessLauncher, tmp_path: Path) -> None:
    before = children()
    trial = rogues.try_out(rogue(write_model(tmp_path), "hangs"), 60.0)
    assert children() > before
    trial.stop()
    assert not report(trial).ok
    assert children() <= before


def children() -> set[str]:
    """Process ids of this process' children, zombies among them."""
    tasks = Path("/proc/self/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}
