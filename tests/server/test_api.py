"""The API without a broker: routes, problems, the guard, and who may."""

import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState
from edgefleet_server import views
from edgefleet_server.api.actor import Actor, authorise
from edgefleet_server.api.guard import too_large, why_not
from edgefleet_server.app import Server
from edgefleet_server.errors import NotAllowed
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.store import devices
from tests.fakes.scripted_device import PI4

from .conftest import MakeServer


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server whose broker is not there; nothing of it runs but what is asked."""
    server = make_server(1)
    yield server
    server.database.close()


@pytest.fixture
def client(server: Server) -> TestClient:
    return TestClient(server.web, base_url="http://127.0.0.1:8300", raise_server_exceptions=False)


def add_device(server: Server, name: str = "pi-one", region: str = "eu-west") -> None:
    state = DeviceState(device=name, session=1, boot="b", at_s=1.0, agent_version="0.1.0", region=region, hardware=PI4)
    with server.database.write() as connection:
        devices.put_state(connection, state, encode(state), time.time(), live=True)


def test_a_plan_a_rollout_and_its_course(server: Server, client: TestClient) -> None:
    add_device(server)
    body = {"release": "fashion/1", "regions": ["eu-west"], "stages": [50, 100], "probation": {"seconds": 5}}
    plan = client.post("/v1/rollouts/plan", json=body).json()["regions"][0]
    assert (plan["matched"], plan["devices"][0]["choice"]["taken"]) == (1, "fp32")
    assert plan["devices"][0]["text"].startswith("fashion/1 on pi4 (aarch64")
    assert client.get("/v1/rollouts").json() == {"items": [], "next": None}
    assert client.post("/v1/rollouts", json=body).status_code == 201
    (row,) = client.get("/v1/rollouts/eu-west").json()["items"]
    assert (row["release"], row["status"], row["stage"]) == ("fashion/1", "running", 0)
    assert [stage["state"] for stage in row["stages"]] == ["open", "to come"]
    document = server.repository.rollout("eu-west")
    assert document is not None and document.assignments[0].probation.seconds == 5


def test_pause_resume_and_back_by_hand(server: Server, client: TestClient) -> None:
    add_device(server)
    body = {"model": "fashion", "release": "1", "regions": ["eu-west"], "stages": [1, 100]}
    assert client.post("/v1/rollouts", json=body).status_code == 201
    path = "/v1/rollouts/eu-west"
    assert client.post(f"{path}/pause", json={"why": "lunch"}).json()["items"][0]["status"] == "paused"
    assert client.post(f"{path}/pause", json={}).status_code == 409
    assert client.post(f"{path}/resume", json={}).json()["items"][0]["status"] == "running"
    assert client.post(f"{path}/go-back", json={}).json()["items"][0]["status"] == "gone-back"
    document = server.repository.rollout("eu-west")
    assert document is not None and document.assignments == ()
    deeds = [row["action"] for row in client.get("/v1/audit").json()["items"]]
    assert deeds == ["rollout.go-back", "rollout.resume", "rollout.pause", "rollout.start"]


def test_a_device_is_assigned_and_shown_with_its_whole_state(server: Server, client: TestClient) -> None:
    add_device(server)
    answer = client.put("/v1/devices/pi-one/assignment", json={"region": "ap-south", "tags": ["lab"]})
    assert (answer.status_code, answer.json()["number"]) == (200, 1)
    row = client.get("/v1/devices/pi-one").json()
    assert (row["region"], row["tags"], row["document"]["agent_version"]) == ("ap-south", ["lab"], "0.1.0")
    assert client.get("/v1/devices", params={"region": "eu-west"}).json()["items"] == []
    assert client.get("/v1/devices/pi-one/latency").json()["models"] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/v1/devices/nobody", None, 404, "no device nobody is known"),
        ("GET", "/v1/rollouts/mars", None, 404, "there is no region mars. There are: eu-west, ap-south"),
        ("GET", "/v1/nothing", None, 404, "Not Found"),
        ("DELETE", "/v1/devices", {}, 405, "Method Not Allowed"),
        ("PUT", "/v1/devices/one/assignment", {"region": "mars"}, 404, "there is no region mars"),
        ("PUT", "/v1/devices/BAD/assignment", {"region": "eu-west"}, 422, "cannot name a device"),
        ("PUT", "/v1/devices/one/assignment", {"region": "eu-west", "tags": ["A B"]}, 422, "cannot name a tag"),
        ("POST", "/v1/rollouts", {"release": "fashion/9"}, 404, "Listed are: fashion/1, fashion/2"),
        ("POST", "/v1/rollouts", {"release": "fashion"}, 422, "write MODEL/NUMBER"),
        ("POST", "/v1/rollouts", {"release": "fashion/1", "stages": [100, 50]}, 422, "larger than the one before"),
        ("POST", "/v1/rollouts", {"release": "fashion/1", "stages": [0]}, 422, "above 0 and up to 100"),
        ("POST", "/v1/rollouts", {"release": "fashion/1", "regions": ["mars"]}, 404, "no region mars"),
        ("POST", "/v1/rollouts", {"release": "fashion/1", "colour": "red"}, 422, "colour"),
        (
            "POST",
            "/v1/rollouts",
            {"release": "fashion/1", "policies": {"eu-west": {"luck": 1}}},
            422,
            "'luck', which is",
        ),
        (
            "POST",
            "/v1/rollouts",
            {"release": "fashion/1", "policies": {"eu-west": {"objective": 1}}},
            422,
            "policies.eu-west.objective is 1 and must be",
        ),
        ("POST", "/v1/rollouts", {"release": "fashion/1"}, 409, "no device is known in eu-west"),
        ("POST", "/v1/rollouts/eu-west/pause", {}, 404, "there is no rollout in eu-west"),
    ],
)
def test_what_cannot_be_done_is_a_problem_with_the_reason(
    client: TestClient, method: str, path: str, body: object, status: int, words: str
) -> None:
    answer = client.request(method, path, json=body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert words in answer.json()["detail"]


def test_no_match_is_refused_unless_it_is_forced(client: TestClient) -> None:
    body = {"release": "fashion/1", "regions": ["eu-west"]}
    assert client.post("/v1/rollouts", json=body).status_code == 409
    assert client.post("/v1/rollouts", json={**body, "force": True}).status_code == 201


def test_rights_end_at_the_region() -> None:
    actor = Actor("ana", regions=frozenset({"eu-west"}))
    authorise(actor, "rollout.start", "eu-west")
    for region in ("ap-south", None):
        with pytest.raises(NotAllowed, match="theirs: eu-west"):
            authorise(actor, "rollout.start", region)


@pytest.mark.parametrize(
    ("method", "host", "origin", "kind", "length", "words"),
    [
        ("GET", "127.0.0.1:8300", None, "", None, None),
        ("GET", "localhost:8300", None, "", None, None),
        ("GET", "[::1]:8300", None, "", None, None),
        ("GET", "evil.example:8300", None, "", None, "answers for 127.0.0.1"),
        ("GET", "", None, "", None, "answers for 127.0.0.1"),
        ("POST", "127.0.0.1:8300", None, "application/json", "2", None),
        ("POST", "127.0.0.1:8300", "http://127.0.0.1:8300", "application/json; charset=utf-8", "2", None),
        ("POST", "127.0.0.1:8300", "http://evil.example", "application/json", "2", "a page of 'http://evil.example'"),
        ("POST", "127.0.0.1:8300", "null", "application/json", "2", "a page of 'null'"),
        ("POST", "127.0.0.1:8300", None, "text/plain", "2", "application/json"),
        ("POST", "127.0.0.1:8300", None, "application/json", None, "say its length"),
        ("PUT", "127.0.0.1:8300", None, "application/json", "-2", "at most 1000000"),
        ("PUT", "127.0.0.1:8300", None, "application/json", "2000000", None),
        ("GET", "[", None, "", None, "answers for 127.0.0.1"),
        ("POST", "127.0.0.1:8300", "http://[", "application/json", "2", "a page of 'http://['"),
    ],
)
def test_a_foreign_page_cannot_use_a_browser_on_this_machine(
    method: str, host: str, origin: str | None, kind: str, length: str | None, words: str | None
) -> None:
    reason = why_not(method, host, origin, kind, length)
    assert (reason is None) == (words is None)
    assert words is None or words in (reason or "")


def test_a_body_in_chunks_is_refused_whatever_length_it_says() -> None:
    chunked = why_not("POST", "127.0.0.1", None, "application/json", "2", coding="chunked")
    assert chunked is not None and "in chunks" in chunked
    assert why_not("POST", "127.0.0.1", None, "application/json", "2", coding=None) is None


def test_a_body_in_chunks_does_not_reach_a_route(client: TestClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": "2", "Transfer-Encoding": "chunked"}
    answer = client.post("/v1/rollouts/plan", content=b"{}", headers=headers)
    assert answer.status_code == 403 and "in chunks" in answer.text


def test_a_body_that_is_too_large_is_told_as_that_and_is_not_read(client: TestClient) -> None:
    for length in ("1000001", "9" * 400):
        answer = client.post(
            "/api/v1/rollouts/plan",
            content=b"{}",
            headers={"Content-Type": "application/json", "Content-Length": length},
        )
        assert (answer.status_code, answer.json()["type"]) == (413, "urn:edgefleet:problem:too-large")
        assert "and may have 1000000" in answer.json()["detail"]
    assert [too_large("POST", length) for length in ("1000000", "0001000000", None)] == [None] * 3
    assert too_large("GET", "2000000") is None


def test_the_page_comes_from_here_and_nowhere_else(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    for name in ("live.js", "page.css", "mark.svg"):
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text and "https://" not in text, name
        assert "innerHTML" not in text, "what a device says is text, never markup"
    assert "<style" not in page.text and "onclick" not in page.text


def test_health_says_whether_the_broker_is_there(client: TestClient) -> None:
    body = client.get("/healthz").json()
    assert (body["fleet"], body["broker_connected"]) == ("demo", False)
    assert client.get("/v1/releases").json()["items"][0]["variants"][0]["name"] == "fp32"
    assert client.get("/v1/overview").json()["regions"] == ["eu-west", "ap-south"]


def test_however_many_pages_are_open_the_fleet_is_weighed_once_a_look(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = make_server(1)
    server.controller.begin(Order("fashion/1", regions=("eu-west",), force=True), "a test")
    server.controller.begin(Order("fashion/2", regions=("eu-west",), force=True), "a test")
    monkeypatch.setattr(views, "LOOK_S", 3600.0)
    first = server.views.overview()
    server.controller.pause("eu-west", None, "a test")
    assert server.views.overview() is first
    monkeypatch.setattr(views, "LOOK_S", 0.0)
    assert server.views.overview()["rollouts"][0]["status"] == "paused"
    new, old = server.views.rollouts(past=True)
    assert (new["release"], new["counts"]["proven"]) == ("fashion/2", 0)
    assert (old["release"], old["counts"]["proven"], old["evidence"]) == ("fashion/1", None, [])
    server.database.close()


def test_what_is_wrong_with_a_body_is_said_by_the_fields_name(client: TestClient) -> None:
    answer = client.post("/v1/rollouts", json={"release": "fashion/1", "gate": {"max_failed_percent": 140}, "x": 1})
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        "gate.max_failed_percent is 140: input should be less than or equal to 100; x is 1: extra inputs are not permitted"
    )
