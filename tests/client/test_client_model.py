"""An application gets its predictions, and clear words where it cannot."""

import dataclasses
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
from msgspec.structs import replace

from edgefleet_agent.seams import WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_client import BadInput, Model, ModelFailed, ModelNotServed, NoAnswer, ServerBusy
from edgefleet_client.model import DoorName
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
            names = ("ant", "bee", "cat", "dog")
            assert many.labels == tuple(names[at] for at in np.argmax(answers(tmp_path), axis=1))
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


@pytest.mark.parametrize("door", ["memfd", "rest"])
def test_numbers_that_are_none_get_no_answer_and_are_no_error_of_the_model(
    launcher: ProcessLauncher, tmp_path: Path, door: DoorName
) -> None:
    worker = launcher.start(write_model(tmp_path))
    ready(worker)
    worker.accept()
    model = Model("fashion", door=door)
    # Twice: by memory, the values are looked at while the model computes, and what it says is thrown away.
    for value, count in ((np.full(12, np.nan, np.float32), 12), ([0.0] * 11 + [float("inf")], 1)):
        with pytest.raises(BadInput, match=f"{count} values of 12 that are NaN or infinite"):
            model.predict(value)
    assert model.predict([0.0] * FEATURES).release == "fashion/1"
    assert worker.served().errors == 0


def pictures(folder: Path, low: float = 0.0, high: float = 1.0) -> WorkerSpec:
    """Return a model whose release says what its input and its output mean."""
    spec = write_model(folder)
    (image,), (scores,) = spec.interface.inputs, spec.interface.outputs
    image = replace(image, layout="NC", colour="grey", range=(low, high), resize="stretch")
    contract = replace(spec.interface, inputs=(image,), outputs=(scores,), thresholds={"bee": 0.5})
    return dataclasses.replace(spec, interface=contract)


def test_the_metadata_holds_the_whole_contract(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = launcher.start(pictures(tmp_path))
    ready(worker)
    worker.accept()
    said = Model("fashion").metadata()["parameters"]
    assert said["labels"] == ["ant", "bee", "cat", "dog"]
    assert said["interface"] == {
        "task": "classification",
        "thresholds": {"bee": 0.5},
        "inputs": {"image": {"layout": "NC", "colour": "grey", "range": [0, 1], "resize": "stretch"}},
        "outputs": {"scores": {"meaning": "logits"}},
    }


def test_bytes_of_a_picture_are_not_taken_for_an_input_from_0_to_1(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = launcher.start(pictures(tmp_path))
    ready(worker)
    worker.accept()
    model, picture = Model("fashion"), np.arange(FEATURES, dtype=np.uint8)
    with pytest.raises(BadInput, match=r"FP32 from 0 to 1 and got uint8, from 0 to 255.*astype\('float32'\) / 255, or"):
        model.predict(picture)
    as_they_are = model.predict(picture.astype(np.float32)).array
    assert model.predict(picture, cast=True).array == pytest.approx(as_they_are)
    assert model.predict([0] * FEATURES).release == "fashion/1"  # plain numbers of Python are no picture


def test_bytes_fit_an_input_from_0_to_255(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = launcher.start(pictures(tmp_path, 0, 255))
    ready(worker)
    worker.accept()
    assert Model("fashion").predict(np.full(FEATURES, 255, np.uint8)).release == "fashion/1"


def test_values_outside_of_the_range_are_refused_only_when_asked(launcher: ProcessLauncher, tmp_path: Path) -> None:
    worker = launcher.start(pictures(tmp_path))
    ready(worker)
    worker.accept()
    beyond = np.linspace(-1, 2, FEATURES, dtype=np.float32)
    assert Model("fashion").predict(beyond).release == "fashion/1"
    with pytest.raises(BadInput, match="takes values from 0 to 1 and got some from -1 to 2"):
        Model("fashion", check="range").predict(beyond)
    assert Model("fashion", check="off").predict(np.full(FEATURES, np.nan, np.float32)).release == "fashion/1"
    with pytest.raises(ValueError, match="must be off, finite or range"):
        Model("fashion", check="all")  # type: ignore[arg-type]


def test_what_is_no_classifier_has_no_labels(launcher: ProcessLauncher, tmp_path: Path) -> None:
    spec = write_model(tmp_path)
    worker = launcher.start(dataclasses.replace(spec, interface=replace(spec.interface, task="other")))
    ready(worker)
    worker.accept()
    found = Model("fashion").predict(images(tmp_path))
    with pytest.raises(ValueError, match="fashion/1 is for other and has no label"):
        _ = found.label


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
    launcher.close()
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
