"""Where nothing speaks for a model or against it, that is said as an outcome of its own: by the gate, the API, the page and the command."""

import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.rollout import Gate, NotWorse
from edgefleet_server.cli import rollout
from edgefleet_server.rollouts.compare import compare
from tests.fakes.repository import FakeRepository
from tests.fakes.web_server import WebServer

from .compared import fleet as pairs
from .conftest import MakeServer
from .test_model_gate import begun

NOTHING = NotWorse(latency_percent=None, error_points=None, wait_s=600.0)


def test_a_gate_that_looks_at_nothing_has_no_evidence_however_many_devices_there_are() -> None:
    found = compare(list(pairs(50, 1)), NOTHING)
    assert (found.result, found.findings) == ("too little", ())
    assert found.why == "its gate looks at nothing, so nothing speaks for the model or against it"


def test_it_waits_and_pauses_and_is_told_alike_everywhere(
    make_server: MakeServer, repo: FakeRepository, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = begun(make_server, repo, Gate(not_worse=NOTHING))
    assert "too little evidence yet" in fleet.turn().why
    client = TestClient(fleet.server.web, base_url="http://127.0.0.1:8300")
    answer = client.get("/api/v1/rollouts/eu-west/comparison").json()
    assert (answer["items"][0]["result"], answer["items"][0]["asked"]) == ("too little", True)
    with WebServer(fleet.server.web) as web:
        assert rollout.main(["compare", "eu-west", "--server", web.url]) == 0
    assert capsys.readouterr().out.startswith("fashion/2 in eu-west: too little evidence\n")
    page = client.get(f"/rollouts/eu-west/{fleet.record.id}").text
    assert "too little evidence</span>" in page and "its gate looks at nothing" in page
    fleet.clock.at += 601
    record = fleet.turn()
    assert record.status == "paused" and "too little evidence after 10 minutes" in record.why
    fleet.server.database.close()


def test_a_gate_that_does_not_ask_is_told_as_one_and_shows_no_verdict(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    fleet = begun(make_server, repo, Gate())
    client = TestClient(fleet.server.web, base_url="http://127.0.0.1:8300")
    (row,) = client.get("/api/v1/rollouts/eu-west/comparison").json()["items"]
    assert (row["asked"], row["result"]) == (False, "too little")
    assert "The model against the one before" not in client.get(f"/rollouts/eu-west/{fleet.record.id}").text
    assert fleet.server.controller.found(fleet.record).result == "too little"
    fleet.server.database.close()
