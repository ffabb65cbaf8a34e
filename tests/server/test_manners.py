"""The manners that hold for every route: pages, filters, keys, problems, tags, addresses, and the description of them."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event, ModelState, Running
from edgefleet_server.api import describe, reference
from edgefleet_server.api.idempotency import KEPT_S
from edgefleet_server.api.paging import seal, unseal
from edgefleet_server.app import Server
from edgefleet_server.config import HttpConfig
from edgefleet_server.errors import BadRequest
from edgefleet_server.store import answers, devices, events, tokens
from tests.fakes.scripted_device import PI4

from .conftest import MakeServer


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server without a broker, with seven devices in two regions and 25 events."""
    server = make_server(1)
    with server.database.write() as connection:
        for number in range(7):
            running = Running(
                release="fashion/1" if number % 2 else "fashion/2",
                release_sha256="a" * 64,
                variant="int8",
                variant_sha256="c" * 64,
                since_s=0.0,
                proven=True,
            )
            model = ModelState(
                model="fashion", phase="failed" if number == 3 else "proven", why="its own words", running=running
            )
            state = DeviceState(
                device=f"pi-{number}",
                session=1,
                boot="b",
                at_s=1.0,
                agent_version="0.1.0",
                region="eu-west" if number < 4 else "ap-south",
                tags=("lab",) if number in (1, 5) else ("laboratory",),
                hardware=PI4,
                models=(model,),
            )
            devices.put_state(connection, state, encode(state), time.time(), live=number != 6)
        for number in range(25):
            event = Event(device=f"pi-{number % 7}", boot="b", number=number, at_s=1.0, kind="noted", text=str(number))
            events.add(connection, event, 1000.0 + number // 5)
    yield server
    server.database.close()


@pytest.fixture
def client(server: Server) -> TestClient:
    return TestClient(server.web, base_url="http://127.0.0.1:8300", raise_server_exceptions=False)


def pages(client: TestClient, path: str, limit: int, **query: Any) -> list[list[dict[str, Any]]]:
    found, after = [], None
    while True:
        answer = client.get(path, params={**query, "limit": limit, **({"after": after} if after else {})})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found.append(body["items"])
        if (after := body["next"]) is None:
            return found


def test_pages_hold_every_row_once_and_the_last_says_that_it_is_the_last(client: TestClient) -> None:
    lists = [("/api/v1/devices", "id"), ("/api/v1/events", "text"), ("/api/v1/releases", "release")]
    for path, key in lists:
        whole = [row[key] for row in client.get(path, params={"limit": 1000}).json()["items"]]
        assert len(whole) == len(set(whole)) >= 2
        for limit in (1, 2, 3, len(whole)):
            parts = pages(client, path, limit)
            assert [row[key] for part in parts for row in part] == whole
            assert all(len(part) == limit for part in parts[:-1]) and 0 < len(parts[-1]) <= limit


def test_deeds_and_rollouts_and_commands_page_too(server: Server, client: TestClient) -> None:
    for why in "abcd":
        order = {"release": f"fashion/{1 if why in 'ac' else 2}", "regions": ["eu-west"], "force": True}
        assert client.post("/api/v1/rollouts", json=order).status_code == 201
    assert [[row["id"] for row in part] for part in pages(client, "/api/v1/rollouts", 3, past=True)] == [[4, 3, 2], [1]]
    deeds = [row["action"] for part in pages(client, "/api/v1/audit", 3) for row in part]
    assert sorted(deeds) == ["rollout.start"] * 4 + ["rollout.supersede"] * 3
    assert client.get("/api/v1/rollouts/eu-west/4").json()["release"] == "fashion/2"
    assert client.get("/api/v1/rollouts/ap-south/4").status_code == 404


FILTERS: list[tuple[dict[str, str], str]] = [
    ({"region": "ap-south"}, "456"),
    ({"tag": "lab"}, "15"),
    ({"tag": "l_b"}, ""),
    ({"hardware": PI4.hardware_class}, "0123456"),
    ({"hardware": "pi"}, ""),
    ({"status": "online"}, "012345"),
    ({"status": "failing"}, "3"),
    ({"status": "silent"}, "6"),
    ({"status": "quarantine"}, ""),
    ({"runs": "fashion"}, "0123456"),
    ({"runs": "fashion/1"}, "135"),
    ({"runs": "fashion/2/int8", "region": "eu-west"}, "02"),
    ({"runs": "fashion/%"}, ""),
    ({"text": "PI-5"}, "5"),
    ({"text": "%"}, ""),
]
"""What is asked, and the numbers of the devices that are so."""


def test_devices_are_filtered_by_what_they_are_run_and_do(client: TestClient) -> None:
    for query, ids in FILTERS:
        rows = client.get("/api/v1/devices", params=query).json()["items"]
        assert "".join(row["id"].removeprefix("pi-") for row in rows) == ids, query


def test_a_mark_that_no_page_gave_out_is_refused(client: TestClient) -> None:
    assert unseal(seal(1.5, 2, "a", "b"), float, int, str, str) == (1.5, 2, "a", "b")
    for wrong in ("x", "%%%", seal("text"), seal(1, 2), seal(2**70), seal(True), "é"):
        with pytest.raises(BadRequest, match="which no page gave out"):
            unseal(wrong, int)
    answer = client.get("/api/v1/events", params={"after": "nonsense"})
    assert answer.status_code == 422 and "take `next` as it came" in answer.json()["detail"]


def test_a_request_with_a_key_is_done_once_and_answered_again(server: Server, client: TestClient) -> None:
    order = {"release": "fashion/1", "regions": ["eu-west"], "force": True}
    first = client.post("/api/v1/rollouts", json=order, headers={"Idempotency-Key": "one"})
    again = client.post("/v1/rollouts", json=order, headers={"Idempotency-Key": "one"})
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content and again.headers["idempotency-replayed"] == "true"
    assert len(server.views.rollouts(past=True)) == 1
    other = client.post("/api/v1/rollouts", json={**order, "stages": [50]}, headers={"Idempotency-Key": "one"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:edgefleet:problem:key-reused")
    elsewhere = client.post("/api/v1/rollouts/eu-west/pause", json=order, headers={"Idempotency-Key": "one"})
    assert elsewhere.status_code == 409
    # What a rule refused stays refused under its key, and a new key asks anew.
    assert client.post("/api/v1/rollouts", json=order, headers={"Idempotency-Key": "two"}).status_code == 201
    assert client.post("/api/v1/rollouts", json=order, headers={"Idempotency-Key": "a b"}).status_code == 422


def test_a_key_belongs_to_whoever_used_it_and_is_free_again_after_a_day(make_server: MakeServer) -> None:
    server = make_server(1, http=HttpConfig())
    with server.database.write() as connection:
        ana, bob = (tokens.new(connection, name, "releaser", None, time.time(), 1e6)[1] for name in ("ana", "bob"))
        answers.claim(connection, "ana", "old", "another request", time.time() - KEPT_S - 1)
        answers.claim(connection, "ana", "stuck", "another request", time.time() - 60)
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")

    def start(secret: str, key: str, stages: list[int]) -> int:
        body = {"release": "fashion/1", "regions": ["eu-west"], "force": True, "stages": stages}
        headers = {"Idempotency-Key": key, "Authorization": f"Bearer {secret}"}
        return client.post("/api/v1/rollouts", json=body, headers=headers).status_code

    assert start("ef_wrong", "k", [100]) == 401
    assert start(ana, "k", [100]) == 201
    assert start(bob, "k", [50, 100]) == 201
    assert start(ana, "k", [50, 100]) == 409
    assert start(ana, "old", [100]) == 201
    assert start(ana, "stuck", [100]) == 409
    server.database.close()


def test_the_same_request_at_the_same_moment_is_done_once(server: Server) -> None:
    codes, began = [], threading.Barrier(6)

    def ask() -> None:
        client = TestClient(server.web, base_url="http://127.0.0.1:8300")
        body = {"release": "fashion/1", "regions": ["eu-west"], "force": True}
        began.wait()
        codes.append(client.post("/api/v1/rollouts", json=body, headers={"Idempotency-Key": "k"}).status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(codes) <= {201, 409} and 201 in codes
    assert len(server.views.rollouts(past=True)) == 1


def test_what_did_not_change_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/api/v1/releases")
    again = client.get("/api/v1/releases", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/api/v1/releases", headers={"If-None-Match": '"other"'}).content == first.content


def test_every_problem_has_a_type_a_title_its_status_and_mostly_what_to_do(client: TestClient) -> None:
    for method, path, status, kind in (
        ("GET", "/api/v1/devices/nobody", 404, "not-found"),
        ("GET", "/api/v1/nothing", 404, "not-found"),
        ("GET", "/api/v1/devices?limit=0", 422, "bad-request"),
        ("GET", "/api/v1/devices?limit=x", 422, "bad-request"),
        ("POST", "/api/v1/rollouts/eu-west/pause", 404, "not-found"),
    ):
        answer = client.request(method, path, json={} if method == "POST" else None)
        body = answer.json()
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.status_code, body["status"], body["type"]) == (status, status, f"urn:edgefleet:problem:{kind}")
        assert body["title"] and body["detail"]
    assert client.get("/api/v1/nothing").json()["next"] == "/api/openapi.json lists every route"


def test_what_was_sent_is_said_back_in_one_line_that_can_be_said(client: TestClient) -> None:
    """Half a character, line ends, a name of 100,000 letters, a thousand wrong numbers."""
    for model, found in (
        ("\ud800", "model is \\ud800"),
        ("a\nb\u2028c", "model is a\\nb\\u2028c"),
        ("x" * 100_000, "100"),
    ):
        sent = json.dumps({"release": "fashion/1", "model": model})
        answer = client.post("/api/v1/rollouts/plan", content=sent, headers={"Content-Type": "application/json"})
        said = answer.json()["detail"]
        assert answer.status_code == 422 and found in said and said.isprintable() and len(said) < 2100
    lost = client.get("/api/v1/regions/mars%0aearth").json()
    assert lost["status"] == 404 and "mars\\nearth" in lost["detail"]
    numbers = client.post("/api/v1/rollouts/plan", json={"release": "fashion/1", "regions": [1] * 1000}).json()
    assert numbers["detail"].startswith("regions.0 is 1: ") and numbers["detail"].endswith("; and 995 more")


def test_a_wrong_stage_is_told_as_what_it_was_meant_to_be(client: TestClient) -> None:
    for stage, said in (
        ({"count": 0}, "stages.1.count is 0: input should be greater than or equal to 1"),
        ({"percent": 5, "x": 1}, "stages.1.x is 1: extra inputs are not permitted"),
        ("ten", "stages.1.percent is 'ten': input should be a valid number, unable to parse string as a number"),
        (None, "stages.1: a stage is a percent, as in 10, or an object"),
    ):
        answer = client.post("/api/v1/rollouts/plan", json={"release": "fashion/1", "stages": [10, stage]})
        assert answer.status_code == 422 and answer.json()["detail"].startswith(said)


def test_a_device_of_too_long_a_name_is_one_that_nobody_knows(client: TestClient) -> None:
    answer = client.post(f"/api/v1/devices/{'x' * 300}/decommission", json={})
    assert answer.status_code == 404


def test_a_nul_is_refused_wherever_it_stands(client: TestClient) -> None:
    for answer in (
        client.get("/api/v1/devices/a%00b"),
        client.get("/api/v1/devices?text=%00"),
        client.post("/api/v1/rollouts/eu-west/pause", json={"why": "a\0b"}),
    ):
        assert answer.status_code == 422 and "NUL" in answer.json()["detail"]


def test_the_short_address_is_the_same_place(client: TestClient) -> None:
    assert client.get("/v1/devices").json() == client.get("/api/v1/devices").json()
    assert client.get("/api/openapi.json").json() == client.get("/openapi.json").json()
    assert client.get("/api/healthz").status_code == 404


def test_the_description_names_every_operation_once_with_its_answer(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    rows = [(path, method, row) for path, methods in document["paths"].items() for method, row in methods.items()]
    names = [row["operationId"] for _, _, row in rows]
    assert len(names) == len(set(names))
    assert set(describe.ANSWERS) <= set(names)
    assert all(
        path.startswith("/api/v1/") or path in ("/healthz", "/metrics", "/livez", "/readyz") for path, _, _ in rows
    )
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert name in document["components"]["schemas"], name
    for path, method, row in rows:
        if method == "post":
            assert any(one["name"] == "Idempotency-Key" for one in row["parameters"]), path


def test_the_page_of_the_api_says_what_the_code_does(server: Server, client: TestClient) -> None:
    """To make it anew: API_PAGE=write pytest tests/server/test_manners.py -k page_of_the_api"""
    said = reference.page(client.get("/api/openapi.json").json())
    path = Path(__file__).parents[2] / "docs/reference/api.md"
    if os.environ.get("API_PAGE") == "write":
        path.write_text(said, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == said
