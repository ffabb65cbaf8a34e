"""The agent's process stays small: what it imports of serving and hardware brings neither numpy nor a runtime, nor what costs 1 MB to read a version."""

import subprocess
import sys

import pytest

HEAVY = ("numpy", "onnxruntime", "tuf", "torch", "importlib.metadata")


@pytest.mark.parametrize(
    "module",
    [
        "edgefleet_agent.serve.launcher",
        "edgefleet_agent.serve.golden",
        "edgefleet_agent.serve.ask",
        "edgefleet_agent.serve.process",
        "edgefleet_agent.serve.sockets",
        "edgefleet_agent.hardware.probe",
        "edgefleet_agent.hardware.sensors",
        "edgefleet_agent.hardware.samples",
    ],
)
def test_the_agents_side_imports_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_probing_the_runtime_does_not_import_it() -> None:
    script = (
        "import sys, tempfile; from pathlib import Path; from edgefleet_agent.hardware.probe import HardwareProbe;"
        "found = HardwareProbe(Path(tempfile.mkdtemp())).hardware().runtimes;"
        f"print(found[0].name, [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "onnxruntime []"
