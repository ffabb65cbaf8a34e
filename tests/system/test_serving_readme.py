"""What client/README.md shows is run as it stands, against a worker that serves a model of the demo's interface."""

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_protocol.manifest import InputSpec, Interface, OutputSpec, TensorFile
from tests.fakes.onnx_bytes import model, node, tensor, value_info
from tests.fakes.served import ready, write_model

README = Path(__file__).resolve().parents[2] / "client/README.md"
LABELS = tuple("abcdefghij")


def blocks(language: str) -> list[str]:
    """Return the README's blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The `run` folder of a device that serves `fashion`: grey pictures of 28 by 28, ten classes."""
    folder = tmp_path_factory.mktemp("readme")
    spec = write_model(folder)
    data = model(
        [node("Flatten", ["image"], ["flat"]), node("MatMul", ["flat", "w"], ["product"]),
         node("Add", ["product", "b"], ["logits"])],
        initializers=[tensor("w", [784, 10], [0.0] * 7840), tensor("b", [10], [float(at == 7) for at in range(10)])],
        inputs=[value_info("image", ["n", 1, 28, 28])],
        outputs=[value_info("logits", ["n", 10])],
    )  # fmt: skip
    spec.model_path.write_bytes(data)
    contract = Interface(
        task="classification",
        inputs=(
            InputSpec(name="image", datatype="FP32", shape=(-1, 1, 28, 28), layout="NCHW", colour="grey",
                      range=(0, 1), resize="stretch"),
        ),
        outputs=(OutputSpec(name="logits", datatype="FP32", shape=(-1, 10), meaning="logits"),),
        labels=LABELS,
    )  # fmt: skip
    (folder / "golden/image.bin").write_bytes(bytes(4 * 784))
    spec = dataclasses.replace(
        spec,
        variant_sha256=hashlib.sha256(data).hexdigest(),
        interface=contract,
        golden_inputs=(TensorFile(name="image", datatype="FP32", shape=(1, 1, 28, 28), file="golden/image.bin"),),
    )
    launcher = ProcessLauncher(folder / "run")
    worker = launcher.start(spec)
    ready(worker)
    worker.accept()
    yield folder / "run"
    launcher.close()


def shell(command: str, run_folder: Path) -> Any:
    """Return the JSON that a command prints; the device's run folder stands where the README's is."""
    text = command.replace("/run/edgefleet", str(run_folder))
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_curl_commands_work_as_they_stand(run_folder: Path) -> None:
    infer, contract = [block for block in blocks("sh") if "curl" in block]
    answer = shell(infer, run_folder)
    assert answer["parameters"]["release"] == "fashion/1"
    (logits,) = answer["outputs"]
    assert logits["name"] == "logits" and logits["shape"] == [1, 10] and logits["data"].index(1.0) == 7
    said = shell(contract, run_folder)["parameters"]["interface"]
    assert said["inputs"]["image"]["range"] == [0, 1] and said["outputs"] == {"logits": {"meaning": "logits"}}
    inline = re.search(r"Over a model's own: `(curl .*?)`\.", README.read_text())
    assert inline is not None and shell(inline[1], run_folder)["name"] == "fashion"


def test_the_python_works_as_it_stands(run_folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks("python"))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "EDGEFLEET_RUN": str(run_folder)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "h by fashion/1 small\n"
