"""A developer serves a folder: no broker, no keys."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgefleet_agent.commands import main
from edgefleet_client import Model
from tests.fakes.package import make_package
from tests.fakes.served import FEATURES, interface, write_model


@contextmanager
def dev(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Yield the command, which serves."""
    words = [sys.executable, "-m", "edgefleet_agent", "dev", *map(str, arguments)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: "subprocess.Popen[str]") -> str:
    """Return what it prints once a model is served."""
    assert process.stdout is not None
    words = ""
    while "REST" not in words:
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        words += line
    return words


def test_a_bare_file_is_served_with_what_it_says_of_itself(tmp_path: Path) -> None:
    spec = write_model(tmp_path / "made")
    file = tmp_path / "My Model_v2.onnx"
    file.write_bytes(spec.model_path.read_bytes())
    with dev(file, "--run", tmp_path / "run") as process:
        words = said(process)
        assert "my-model-v2 (My Model_v2) takes image FP32 [-1, 12]" in words
        with Model("my-model-v2", socket=tmp_path / "run/my-model-v2.sock") as model:
            assert model.predict(np.zeros((2, FEATURES), np.float32)).array.shape == (2, 4)
        url = re.search(r"(http://127.0.0.1:\d+)/v2/models/my-model-v2", words)
        assert url is not None
        assert Model("my-model-v2", url=url[1]).predict([0.0] * FEATURES).release == "my-model-v2/1"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def test_a_sidecar_says_what_the_file_cannot(tmp_path: Path) -> None:
    for name in ("ants", "bees"):
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(write_model(tmp_path / f"made-{name}").model_path.read_bytes())
    (tmp_path / "ants.json").write_bytes(msgspec.json.encode(interface()))
    with dev(tmp_path, "--run", tmp_path / "run") as process:
        said(process)
        assert Model("ants", socket=tmp_path / "run/ants.sock", wait_s=60).predict([1.0] * FEATURES).label in (
            "ant", "bee", "cat", "dog")  # fmt: skip
        metadata = Model("bees", socket=tmp_path / "run/bees.sock", wait_s=60).metadata()
        assert metadata["parameters"]["interface"]["task"] == "other"


def test_a_package_is_served_by_one_of_its_variants(tmp_path: Path) -> None:
    package = make_package(tmp_path)
    with dev(package, "--run", tmp_path / "run", "--variant", "int8") as process:
        said(process)
        answer = Model("fashion", socket=tmp_path / "run/fashion.sock").predict(np.zeros(4, np.float32))
        assert (answer.variant, answer.release) == ("int8", "fashion/1")
    assert main(["dev", str(package), "--variant", "none"]) == 1


def test_what_cannot_be_served_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dev", str(tmp_path)]) == 1
    assert "neither a release.json" in capsys.readouterr().err
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    assert main(["dev", str(tmp_path)]) == 1
    assert "broken.onnx" in capsys.readouterr().err
    (tmp_path / "broken.json").write_text(json.dumps({"task": 7}))
    assert main(["dev", str(tmp_path)]) == 1
    assert "is no interface of a release" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
