"""The ways of the client: frames in memory with REST behind them, deadlines, the newest frame, and who answers."""

import dataclasses
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from edgefleet_agent.seams import WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher, ProcessWorker
from edgefleet_agent.serve.sockets import Access
from edgefleet_client import Change, ClientError, Latest, Model, ModelFailed, NotAllowed, Prediction, TooLate
from tests.fakes.served import FEATURES, ROGUE, ready, rogue, until, write_model

IMAGE = [0.25] * FEATURES


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessLauncher]:
    """A launcher whose sockets the client finds by itself."""
    made = ProcessLauncher(tmp_path / "run", command=(sys.executable, str(ROGUE)))
    monkeypatch.setenv("EDGEFLEET_RUN", str(tmp_path / "run"))
    yield made
    made.close()


def serve(launcher: ProcessLauncher, spec: WorkerSpec) -> ProcessWorker:
    """Return a worker that serves."""
    worker = launcher.start(spec)
    ready(worker)
    worker.accept()
    return worker


def test_both_ways_give_the_same_answer_and_say_who_gave_it(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    serve(launcher, spec)
    frames, rest = Model("fashion", door="memfd"), Model("fashion", door="rest")
    for count in (1, 5, 2, 5):  # another number of samples is another layout of the file
        batch = np.random.default_rng(count).random((count, FEATURES), dtype=np.float32)
        left, right = frames.predict(batch), rest.predict(batch)
        assert np.array_equal(left.array, right.array) and left.array.shape[0] == count
        assert left.labels == right.labels
        assert (left.release, left.variant, left.variant_sha256) == ("fashion/1", "small", spec.variant_sha256)


def test_an_answer_does_not_change_with_the_next_one(launcher: ProcessLauncher, tmp_path: Path) -> None:
    serve(launcher, write_model(tmp_path))
    model = Model("fashion", door="memfd")
    first = model.predict(IMAGE)
    kept = first.array.copy()
    model.predict([9.0] * FEATURES)
    assert np.array_equal(first.array, kept)


def test_where_the_system_gives_no_file_in_memory_rest_is_used(
    launcher: ProcessLauncher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(launcher, write_model(tmp_path))

    def refuse(*_: object) -> int:
        raise PermissionError("not in this container")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert Model("fashion").predict(IMAGE).release == "fashion/1"
    with pytest.raises(ModelFailed, match="no way by files in memory"):
        Model("fashion", door="memfd").predict(IMAGE)
    with pytest.raises(ValueError, match="door is memfd, which needs the Unix socket"):
        Model("fashion", door="memfd", url="http://127.0.0.1:1")


def test_an_agent_that_knows_no_frames_is_asked_by_rest(launcher: ProcessLauncher, tmp_path: Path) -> None:
    serve(launcher, write_model(tmp_path))
    # What an agent of before answers to the upgrade: it has nothing at that path.
    path = tmp_path / "old.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def relay(near: socket.socket) -> None:
            with near, socket.socket(socket.AF_UNIX) as far:
                far.connect(str(launcher.socket_path("fashion")))
                while data := near.recv(65536):
                    far.sendall(data.replace(b"/frames", b"/flames"))
                    near.sendall(far.recv(65536))

        def accept() -> None:
            for _ in range(2):
                threading.Thread(target=relay, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        with Model("fashion", socket=path) as model:
            assert model.predict(IMAGE).release == model.predict(IMAGE).release == "fashion/1"


def test_a_switch_is_told_once_by_either_way(launcher: ProcessLauncher, tmp_path: Path) -> None:
    changes: list[Change] = []
    models = [Model("fashion", door=door, on_change=changes.append) for door in ("memfd", "rest")]
    old = serve(launcher, write_model(tmp_path / "1"))
    for model in models:
        assert model.predict(IMAGE).release == "fashion/1"
    old.pause()
    new = serve(launcher, write_model(tmp_path / "2", release="fashion/2", variant="large", seed=2))
    old.stop(5.0)
    for model in models:
        assert "fashion/2" in {model.predict(IMAGE).release for _ in range(3)}
    assert changes == [Change("fashion/2", "large", "fashion/1", "small")] * 2
    os.kill(new.pid, 9)
    until(lambda: new.poll() == "dead", "the worker is gone")
    serve(launcher, write_model(tmp_path / "2", release="fashion/2", variant="large", seed=2))
    for model in models:
        assert model.predict(IMAGE).release == "fashion/2"
    assert len(changes) == 2


@pytest.mark.parametrize("door", ["memfd", "rest"])
def test_an_answer_after_its_deadline_is_not_waited_for(launcher: ProcessLauncher, tmp_path: Path, door: str) -> None:
    worker = serve(launcher, rogue(write_model(tmp_path), "slow"))  # 0.3 s each
    model = Model("fashion", door="memfd" if door == "memfd" else "rest")
    assert model.predict(IMAGE, deadline_ms=60_000).release == "fashion/1"
    with pytest.raises(TooLate):
        model.predict(IMAGE, deadline_ms=100)
    # While that one is still computed, what cannot be in time any more is dropped by the device.
    with pytest.raises(TooLate):
        Model("fashion", door="rest").predict(IMAGE, deadline_ms=50)
    assert model.predict(IMAGE).release == "fashion/1"
    assert worker.served().errors == 0


def test_only_the_newest_frame_is_asked(launcher: ProcessLauncher, tmp_path: Path) -> None:
    serve(launcher, rogue(write_model(tmp_path), "slow"))
    seen: list[tuple[Prediction, object]] = []
    with Latest(Model("fashion"), on_answer=lambda answer, tag: seen.append((answer, tag))) as latest:
        for number in range(50):
            latest.offer(np.full(FEATURES, number, np.float32), tag=number)
        until(lambda: bool(seen) and seen[-1][1] == 49, "the newest is answered")
        assert latest.dropped == 50 - len(seen) and len(seen) < 50
    with Latest(Model("fashion")) as latest:
        latest.offer(IMAGE)
        answer = latest.newest(60)
        assert answer is not None and answer.release == "fashion/1" and latest.newest() is None
        latest.offer([0.0])
        until(lambda: latest.failed == 1, "an error is counted")
        assert isinstance(latest.last_error, ClientError)
    with pytest.raises(ValueError, match="is closed"):
        latest.offer(IMAGE)


def test_who_is_not_named_may_not_ask(tmp_path: Path) -> None:
    for uid, welcome in ((os.getuid(), True), (os.getuid() + 1, False)):
        run = tmp_path / f"run{uid}"
        launcher = ProcessLauncher(run, access=Access(loopback=False, allow_uids=(uid,)))
        worker = serve(launcher, write_model(tmp_path))
        assert sorted(path.name for path in run.iterdir()) == ["fashion.sock"]
        for door in ("memfd", "rest"):
            model = Model("fashion", socket=run / "fashion.sock", door="memfd" if door == "memfd" else "rest")
            if welcome:
                assert model.predict(IMAGE).release == "fashion/1"
            else:
                with pytest.raises(NotAllowed):
                    model.predict(IMAGE)
        assert worker.poll() == "ready"
        launcher.close()


def test_uint8_frames_go_as_they_are(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    (image,) = spec.interface.inputs
    spec = dataclasses.replace(spec, interface=replace(spec.interface, inputs=(replace(image, range=(0, 255)),)))
    serve(launcher, spec)
    picture = np.arange(FEATURES, dtype=np.uint8)
    assert np.array_equal(
        Model("fashion", door="memfd").predict(picture).array, Model("fashion", door="rest").predict(picture).array
    )


def test_the_client_needs_numpy_and_nothing_of_ours() -> None:
    words = "import sys, edgefleet_client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True).stdout.split()
    assert not {"edgefleet_agent", "edgefleet_protocol", "msgspec", "onnxruntime"} & set(loaded)
