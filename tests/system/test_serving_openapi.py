"""The OpenAPI file says what a worker answers: schemathesis asks all of it, and gets no 5xx and nothing undescribed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_agent.serve.sockets import Access
from tests.fakes.served import ready, write_model

FILE = Path(__file__).resolve().parents[2] / "docs/reference/openapi-serving.json"


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[ProcessLauncher]:
    """A launcher with a worker that has every extension turned on."""
    made = ProcessLauncher(tmp_path / "run", access=Access(shared_memory=True))
    worker = made.start(write_model(tmp_path))
    ready(worker)
    worker.accept()
    yield made
    assert worker.poll() == "ready", worker.why_dead()
    made.close()


def test_what_the_file_describes_is_answered_so(launcher: ProcessLauncher, tmp_path: Path) -> None:
    document = json.loads(FILE.read_text())
    # Most questions are to be about the model that is there. A deadline of nanoseconds would rightly be missed.
    document["components"]["schemas"]["InferRequest"]["properties"]["parameters"]["properties"].pop("deadline_ms")
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in ("model", "version"):
                    parameter["schema"]["enum"] = {"model": ["fashion", "cats"], "version": ["1", "2"]}[
                        parameter["name"]
                    ]
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"
    words = ["run", str(tmp_path / "openapi.json"), "--url", f"http://127.0.0.1:{launcher.port('fashion')}"]
    words += ["--checks", checks, "--max-examples", "10", "--phases", "fuzzing,coverage", "--seed", "1"]
    words += ["--generation-database", "none", "--no-color"]
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
