"""What a user copies is what the programs read."""

import configparser
from pathlib import Path

from edgefleet_agent import config as agent_config
from edgefleet_protocol.rollout import Policy
from edgefleet_server import config as server_config

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
