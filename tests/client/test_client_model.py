"""An application gets its predictions, and clear words where it cannot."""

import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_client import BadInput, Model, ModelFailed, ModelNotServed, NoAnswer, ServerBusy
from tests.fakes.served import FEATURES, ROGUE, SAMPLES, ready, rogue, until, write_model


@pytest.fixture
def launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessLauncher]:
    """A launcher whose sockets the client finds by the model's name."""
    made = ProcessLauncher(tmp_path / "run", command=(sys.executable, str(ROGUE)))
    monkeypatch.setenv("EDGEFLEET_RUN", str(tmp_path / "run"))
    yield made
    made.close()


def images(folder: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the golden inputs."""
    return np.fromfile(folder / "golden/image.bin", dtype="<f4").reshape(SAMPLES, FEATURES)


def answers(folder: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Return the golden answers."""
    return np.fromfile(folder / "golden/small.bin", dtype="<f4").reshape(SAMPLES, -1)


def test_one_sample_or_many_over_either_socket(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    worker = launcher.start(spec)
    ready(worker)
    worker.accept()
    for model in (Model("fashion"), Model("fashion", url=f"http://127.0.0.1:{launcher.port('fashion')}")):
        with model:
            one = model.predict(images(tmp_path)[0])
            assert one.array == pytest.approx(answers(tmp_path)[:1], abs=1e-5)
            assert (one.release, one.variant, one.variant_sha256) == ("fashion/1", "small", spec.variant_sha256)
            assert one.label == ("ant", "bee", "cat", "dog")[int(np.argmax(answers(tmp_path)[0]))]
            assert one.seconds > 0
            many = model.predict({"image": images(tmp_path).astype(np.float64)})
            assert many.outputs["scores"] == pytest.approx(answers(tmp_path), abs=1e-5)
            assert model.metadata()["inputs"][0]["shape"] == [-1, FEATURES]


def test_the_connection_is_kept_and_follows_a_switch(launcher: ProcessLauncher, tmp_path: Path) -> None:
    one = write_model(tmp_path / "one")
    two = write_model(tmp_path / "two", release="fashion/2", seed=2)
    first = launcher.start(one)
    ready(first)
    first.accept()
    model = Model("fashion")
    image = images(tmp_path / "one")[0]
    assert model.predict(image).release == "fashion/1"
    second = launcher.start(two)
    ready(second)
    second.accept()
    first.pause()
    assert model.predict(image).release == "fashion/1"  # on its open connection, for the last time
    assert model.predict(image).release == "fashion/2"
    first.stop(5.0)
    until(lambda: first.poll() == "dead", "the first ends")
    assert model.predict(image).release == "fashion/2"


def test_a_connection_that_a_dead_worker_left_is_opened_again(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    model = Model("fashion")
    for _ in range(2):
        worker = launcher.start(spec)
        ready(worker)
        worker.accept()
        assert model.predict(images(tmp_path)[0]).release == "fashion/1"
        os.kill(worker.pid, signal.SIGKILL)
        until(lambda worker=worker: worker.poll() == "dead", "it is dead")  # type: ignore[misc]


def test_it_waits_through_a_boot_when_told_to(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    found: list[str] = []
    patient = Model("fashion", wait_s=60.0)
    waiting = threading.Thread(target=lambda: found.append(patient.predict(images(tmp_path)[0]).release))
    waiting.start()
    worker = launcher.start(spec)
    ready(worker)
    worker.accept()
    waiting.join(60)
    assert found == ["fashion/1"]


def test_a_model_that_nobody_serves_is_told(launcher: ProcessLauncher, tmp_path: Path) -> None:
    with pytest.raises(ModelNotServed, match="edgefleet agent status"):
        Model("fashion").predict([0.0] * FEATURES)
    worker = launcher.start(write_model(tmp_path))
    ready(worker)
    worker.accept()
    with pytest.raises(ModelNotServed, match="this socket serves 'fashion'"):
        Model("faces", socket=launcher.socket_path("fashion")).predict([0.0] * FEATURES)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros(5, np.float32), r"takes the shape \[-1, 12\] and got \[5\]"),
        (np.zeros((1, 1, 12), np.float32), r"got \[1, 1, 12\]"),
        (np.array(["a"] * 12), "takes FP32 and got <U1"),
        (np.zeros(12, np.complex64), "takes FP32 and got complex64"),
        ({"picture": np.zeros(12, np.float32)}, "takes image and got picture"),
        ({}, "takes image and got nothing"),
    ],
)
def test_what_does_not_fit_is_told_before_it_is_sent(
    launcher: ProcessLauncher, tmp_path: Path, value: object, words: str
) -> None:
    worker = launcher.start(write_model(tmp_path))
    ready(worker)
    worker.accept()
    with pytest.raises(BadInput, match=words):
        Model("fashion").predict(value)
    assert worker.served().requests == 0


def test_a_model_that_hangs_is_told(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = launcher.start(rogue(write_model(tmp_path), "hangs"))
    ready(worker)
    worker.accept()
    with pytest.raises(NoAnswer, match="gave no answer within 1 s"):
        Model("fashion", timeout_s=1.0).predict([0.0] * FEATURES)


def test_a_model_that_fails_is_told_and_counted_as_its_error(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    (spec.model_path.parent / "home").write_text("1")
    worker = launcher.start(rogue(spec, "calls-home"))
    ready(worker)
    worker.accept()
    with pytest.raises(ModelFailed, match="HTTP 500"):
        Model("fashion").predict([0.0] * FEATURES)
    assert worker.served().errors == 1


def test_a_full_server_is_told(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = launcher.start(rogue(write_model(tmp_path), "hangs"))
    ready(worker)
    worker.accept()
    stuck = [Model("fashion", timeout_s=30.0) for _ in range(40)]

    def ask(model: Model) -> None:
        with pytest.raises((NoAnswer, ModelNotServed, ServerBusy)):
            model.predict(struct.unpack("12f", bytes(48)))

    asking = [threading.Thread(target=ask, args=(model,), daemon=True) for model in stuck]
    for each in asking:
        each.start()
    busy: list[ServerBusy] = []

    def told() -> bool:
        try:
            Model("fashion", timeout_s=0.2).predict([0.0] * FEATURES)
        except ServerBusy as error:
            busy.append(error)
        except NoAnswer:
            pass
        return bool(busy)

    until(told, "a request is turned away")
    os.kill(worker.pid, signal.SIGKILL)
    launcher.close_sockets("fashion")
    for each in asking:
        each.join(60)
    assert "wait for the model already" in str(busy[0]) or "connections are open already" in str(busy[0])


def test_something_else_on_the_socket_is_no_model_that_is_ready(tmp_path: Path) -> None:
    path = tmp_path / "fashion.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"220 mail.example ESMTP\r\n")

        other = threading.Thread(target=answer)
        other.start()
        with Model("fashion", socket=path) as model:
            assert model.ready() is False
            with pytest.raises(ModelFailed, match="broke within an answer"):
                model.metadata()
        other.join()
