"""The demo, as a newcomer runs it: exit code, the one JSON object, and every promise on the figures in it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_demo(broker: str, work: Path) -> tuple[dict[str, Any], str]:
    """Run `edgefleet demo --once --json`; return its object and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "edgefleet", "demo", "--once", "--json", "--broker", broker, "--work", str(work)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=840,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-8000:]
    assert done.stdout.count("\n") == 1, "standard output holds one object only"
    outcome: dict[str, Any] = json.loads(done.stdout)
    return outcome, done.stderr


@pytest.mark.timeout(900)
@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"])
def test_the_demo_keeps_every_promise(broker: str, demo_work: Path) -> None:
    outcome, said = run_demo(broker, demo_work)
    assert f"broker ({broker})" in said
    devices = outcome["devices"]
    assert {(row["id"], row["region"], row["hardware"]) for row in devices} == {
        ("porch-zero", "eu-west", "pi-zero-2-w"),
        ("lab-five", "eu-west", "pi5"),
        ("shop-four", "ap-south", "pi4"),
        ("gate-orin", "ap-south", "orin-nano"),
    }
    assert all(row["state"] == "proven" and row["release"] == "fashion/2" for row in devices)
    assert len({row["variant"] for row in devices}) >= 3
    for row in devices:
        assert row["why"] and row["bytes_received"] > 0 and row["memory_bytes"] > 0
        assert 0 < row["latency_p50_s"] <= row["latency_p95_s"]
    assert {row["id"] for row in devices if row["battery"] is not None} == {"porch-zero", "gate-orin"}
    assert len(outcome["variants"]) >= 4
    for variant in outcome["variants"]:
        assert outcome["original_accuracy"] - variant["accuracy"] <= 0.01
        assert 0 < variant["wire_bytes"] <= variant["bytes"] + 20_000  # with its golden inputs and answers
    assert outcome["requests"]["sent"] >= 2_000
    assert outcome["requests"]["failed"] == 0
    stages = {(row["release"], row["stage"]) for row in outcome["rolled_back"]}
    assert stages == {("fashion/3", "trial"), ("fashion/4", "probation")}
    assert all(row["reason"] for row in outcome["rolled_back"])
    assert outcome["seconds"] > 0
