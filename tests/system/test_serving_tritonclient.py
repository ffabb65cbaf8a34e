"""A client that is not ours works unchanged: tritonclient over loopback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from edgefleet_agent.serve.launcher import ProcessLauncher
from tests.fakes.served import CLASSES, FEATURES, SAMPLES, ready, write_model


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a real worker."""
    folder = tmp_path_factory.mktemp("triton")
    launcher = ProcessLauncher(folder / "run")
    spec = write_model(folder, release="fashion/3")
    worker = launcher.start(spec)
    ready(worker)
    worker.accept()
    made = triton.InferenceServerClient(f"127.0.0.1:{launcher.port('fashion')}", network_timeout=60.0)
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
    assert not client.is_model_ready("fashion", "2") and not client.is_model_ready("faces")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    said = client.get_model_metadata("fashion")
    assert said["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, FEATURES]}]
    assert client.get_model_repository_index()[0]["state"] == "READY"


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
    with pytest.raises(InferenceServerException, match="no model 'faces' is served"):
        client.infer("faces", question(images, binary=True))
    with pytest.raises(InferenceServerException, match="must be"):
        client.infer("fashion", question(images[:, :3].copy(), binary=True))
    wanted = [triton.InferRequestedOutput("scores", class_count=2)]
    with pytest.raises(InferenceServerException, match="classification is not supported"):
        client.infer("fashion", question(images, binary=True), outputs=wanted)
    for forbidden in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="signed releases"):
            forbidden("fashion")
