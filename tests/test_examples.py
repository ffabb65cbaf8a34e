"""What a user copies is what the programs read."""

import configparser
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefleet_agent import config as agent_config
from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_protocol.rollout import Policy
from edgefleet_server import config as server_config
from tests.fakes.served import ready, write_model

ROOT = Path(__file__).resolve().parent.parent


def test_the_example_of_a_device_is_read_by_the_agent() -> None:
    config = agent_config.load(ROOT / "examples/agent.toml")
    assert (config.fleet, config.device) == ("garden", "greenhouse-3")
    assert config.run == Path("/run/edgefleet")


def test_the_example_of_a_server_is_read_by_the_server() -> None:
    config = server_config.load(ROOT / "examples/server.toml")
    assert config.repository == ROOT / "examples/repository"
    assert config.policy("eu-west").objective_for("pi-zero-2-w") == "latency"
    assert config.policy("ap-south").battery_floor_percent == 30
    assert config.policy("elsewhere") == Policy()


def test_the_service_runs_the_agent_with_the_example_at_its_place() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy/systemd/edgefleet-agent.service")
    assert unit["Service"]["ExecStart"].endswith("edgefleet agent run --config /etc/edgefleet/agent.toml")
    config = agent_config.load(ROOT / "examples/agent.toml")
    assert config.state == Path("/var/lib") / unit["Service"]["StateDirectory"]
    assert config.run == Path("/run") / unit["Service"]["RuntimeDirectory"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The `run` folder of a device that serves a model."""
    folder = tmp_path_factory.mktemp("examples")
    launcher = ProcessLauncher(folder / "run")
    worker = launcher.start(write_model(folder))
    ready(worker)
    worker.accept()
    yield folder / "run"
    launcher.close()


def run(*words: object) -> str:
    """Return what a program prints; it must end well."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_small_program_asks(run_folder: Path) -> None:
    said = run(sys.executable, ROOT / "examples/predict.py", "fashion", "--run", run_folder)
    assert said.startswith("fashion/1 small answered in")


def test_the_camera_asks_about_the_newest_picture(run_folder: Path) -> None:
    words = ["--socket", run_folder / "fashion.sock", "--source", "synthetic", "--frames", 10]
    said = run(sys.executable, ROOT / "examples/camera.py", "fashion", *words)
    assert "fashion/1 small" in said and "0 errors" in said


def test_curl_asks(run_folder: Path) -> None:
    said = run(ROOT / "examples/curl.sh", "fashion", run_folder)
    assert '"state":"READY"' in said and '"model_name":"fashion"' in said and '"data":[' in said


def test_nvidias_client_asks(run_folder: Path) -> None:
    assert (
        run(sys.executable, ROOT / "examples/triton.py", "--run", run_folder) == "fashion/1 small: {'scores': [1, 4]}\n"
    )


def test_the_service_of_an_application_runs_the_camera() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "examples/camera.service")
    assert unit["Service"]["ExecStart"].split()[1].endswith("/camera.py")
    assert unit["Unit"]["After"] == "edgefleet-agent.service"
