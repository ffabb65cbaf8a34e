"""A client that is not ours works unchanged: tritonclient over loopback."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, shared_memory

from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_agent.serve.sockets import Access
from tests.fakes.served import CLASSES, FEATURES, SAMPLES, ready, write_model


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of two real workers, by the one port of the device."""
    folder = tmp_path_factory.mktemp("triton")
    launcher = ProcessLauncher(folder / "run", access=Access(shared_memory=True))
    for release in ("fashion/3", "faces/7"):
        worker = launcher.start(write_model(folder / release.partition("/")[0], release=release))
        ready(worker)
        worker.accept()
    made = triton.InferenceServerClient(f"127.0.0.1:{launcher.front.port}", network_timeout=60.0)
    folder = folder / "fashion"
    made.folder = folder
    yield made
    made.close()
    launcher.close()


def golden(folder: Path) -> tuple[Any, Any]:
    """Return inputs and answers."""
    images = np.fromfile(folder / "golden/image.bin", "<f4").reshape(SAMPLES, FEATURES)
    return images, np.fromfile(folder / "golden/small.bin", "<f4").reshape(SAMPLES, CLASSES)


def question(images: Any, *, binary: bool) -> list[Any]:
    """Return the inputs of a request."""
    image = triton.InferInput("image", list(images.shape), "FP32")
    image.set_data_from_numpy(images, binary_data=binary)
    return [image]


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("fashion") and client.is_model_ready("fashion", "3")
    assert not client.is_model_ready("fashion", "2") and not client.is_model_ready("cats")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    said = client.get_model_metadata("fashion")
    assert said["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, FEATURES]}]
    rows = client.get_model_repository_index()
    assert [(row["name"], row["version"], row["state"]) for row in rows] == [
        ("faces", "7", "READY"),
        ("fashion", "3", "READY"),
    ]
    assert client.get_model_config("faces")["input"][0]["data_type"] == "TYPE_FP32"


def test_one_url_serves_two_models(client: Any) -> None:
    images, scores = golden(client.folder)
    for _ in range(3):
        for model, release in (("fashion", "fashion/3"), ("faces", "faces/7")):
            said = client.infer(model, question(images, binary=True))
            assert said.as_numpy("scores") == pytest.approx(scores, abs=1e-5)
            assert said.get_response()["parameters"]["release"] == release


def test_tensors_in_shared_memory(client: Any) -> None:
    images, scores = golden(client.folder)
    key = f"edgefleet-test-{os.getpid()}"
    region = shared_memory.create_shared_memory_region("frame", f"/{key}", images.nbytes + scores.nbytes)
    try:
        shared_memory.set_shared_memory_region(region, [images])
        client.register_system_shared_memory("frame", f"/{key}", images.nbytes + scores.nbytes)
        assert [row["name"] for row in client.get_system_shared_memory_status()] == ["frame"]
        image = triton.InferInput("image", list(images.shape), "FP32")
        image.set_shared_memory("frame", images.nbytes)
        wanted = triton.InferRequestedOutput("scores")
        wanted.set_shared_memory("frame", scores.nbytes, offset=images.nbytes)
        # Registered once, for every model of the device.
        for model in ("fashion", "faces"):
            client.infer(model, [image], outputs=[wanted])
            got = shared_memory.get_contents_as_numpy(region, np.float32, list(scores.shape), offset=images.nbytes)
            assert got == pytest.approx(scores, abs=1e-5)
        # Its owner makes it smaller: an error of the request, and no worker dies.
        os.truncate(f"/dev/shm/{key}", 8)
        with pytest.raises(InferenceServerException, match="became shorter"):
            client.infer("fashion", [image], outputs=[wanted])
        client.unregister_system_shared_memory("frame")
        with pytest.raises(InferenceServerException, match="register it first"):
            client.infer("fashion", [image], outputs=[wanted])
    finally:
        os.truncate(f"/dev/shm/{key}", images.nbytes + scores.nbytes)
        shared_memory.destroy_shared_memory_region(region)
    for wrong in ("/../etc/passwd", "/none-of-this-name", "/a/b"):
        with pytest.raises(InferenceServerException):
            client.register_system_shared_memory("other", wrong, 8)
    assert client.is_model_ready("fashion")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_inference(client: Any, binary_in: bool, binary_out: bool | None, packed: str | None) -> None:
    images, scores = golden(client.folder)
    outputs = None if binary_out is None else [triton.InferRequestedOutput("scores", binary_data=binary_out)]
    said = client.infer(
        "fashion",
        question(images, binary=binary_in),
        outputs=outputs,
        request_id="r1",
        request_compression_algorithm=packed,
    )
    assert said.as_numpy("scores") == pytest.approx(scores, abs=1e-5)
    response = said.get_response()
    assert response["id"] == "r1" and response["parameters"]["release"] == "fashion/3"


def test_statistics(client: Any) -> None:
    images, _ = golden(client.folder)
    before = client.get_inference_statistics("fashion")["model_stats"][0]["inference_count"]
    client.infer("fashion", question(images, binary=True))
    assert client.get_inference_statistics("fashion")["model_stats"][0]["inference_count"] == before + 1


def test_errors_are_its_exceptions(client: Any) -> None:
    images, _ = golden(client.folder)
    with pytest.raises(InferenceServerException, match="no model 'cats' is served"):
        client.infer("cats", question(images, binary=True))
    with pytest.raises(InferenceServerException, match="must be"):
        client.infer("fashion", question(images[:, :3].copy(), binary=True))
    wanted = [triton.InferRequestedOutput("scores", class_count=2)]
    with pytest.raises(InferenceServerException, match="classification is not supported"):
        client.infer("fashion", question(images, binary=True), outputs=wanted)
    for forbidden in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="signed releases"):
            forbidden("fashion")
