"""The description says what the API answers: schemathesis asks all of it, and gets no 5xx and nothing undescribed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event
from edgefleet_server.store import devices, events
from tests.fakes.scripted_device import PI4
from tests.fakes.web_server import WebServer

from .conftest import MakeServer

NAMES = {"device": ["west", "nobody"], "region": ["eu-west", "mars"], "number": [1, 7]}
"""Most questions are to be about what is there."""
PHASES, EXAMPLES = os.environ.get("API_FUZZ", "fuzzing,5").rsplit(",", 1)
"""More of it, by hand: API_FUZZ=fuzzing,coverage,50 takes minutes."""


def test_what_is_described_is_answered_so_and_nothing_is_a_fault(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server(1)
    state = DeviceState(device="west", session=1, boot="b", at_s=1.0, agent_version="1", region="eu-west", hardware=PI4)
    with server.database.write() as connection:
        devices.put_state(connection, state, encode(state), time.time(), live=True)
        event = Event(device="west", boot="b", number=1, at_s=1.0, kind="noted", text="something")
        events.add(connection, event, time.time())
    with WebServer(server.web) as web:
        document = httpx.get(f"{web.url}/api/openapi.json", trust_env=False).json()
        # A stream, no JSON, and one whose 503 is its answer while there is no broker. This server is open: no tokens.
        for path in ("/api/v1/live", "/metrics", "/readyz"):
            del document["paths"][path]
        del document["security"], document["components"]["securitySchemes"]
        for path in document["paths"].values():
            for operation in path.values():
                for parameter in operation.get("parameters", ()):
                    if parameter["in"] == "path" and parameter["name"] in NAMES:
                        parameter["schema"]["enum"] = NAMES[parameter["name"]]
        (tmp_path / "openapi.json").write_text(json.dumps(document))
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        words = [
            "run",
            str(tmp_path / "openapi.json"),
            "--url",
            web.url,
            "--checks",
            checks,
            "--max-examples",
            EXAMPLES,
        ]
        words += ["--phases", PHASES, "--seed", "1", "--generation-database", "none", "--no-color"]
        command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=900)
    server.database.close()
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
