"""Who may do what, on every route that the application has: a new one without rights fails here."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from starlette.routing import Mount, Route

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event
from edgefleet_server.api.actor import Actor, current_actor
from edgefleet_server.api.rights import ROLES, table
from edgefleet_server.app import Server
from edgefleet_server.commands import server as server_command
from edgefleet_server.config import HttpConfig
from edgefleet_server.ingest.lineage import Alarm, Start
from edgefleet_server.store import devices, events, groups, tokens
from tests.fakes.scripted_device import PI4

from .conftest import MakeServer

PUBLIC = {"/static", "/openapi.json", "/livez", "/readyz", "/sign-in", "/sign-out"}
"""They hold no data: the page's files, its door, the description of the API, and whether the server lives and is ready."""
WEST, SOUTH = "eu-west", "ap-south"

NEEDS: dict[tuple[str, str], str] = {
    ("GET", "/healthz"): "health.read",
    ("GET", "/v1/overview"): "device.read",
    ("GET", "/v1/devices"): "device.read",
    ("GET", "/v1/devices/{device}"): "device.read",
    ("GET", "/v1/devices/{device}/latency"): "device.read",
    ("GET", "/v1/devices/{device}/commands"): "device.read",
    ("GET", "/v1/devices/{device}/commands/{number}"): "device.read",
    ("POST", "/v1/devices/{device}/commands"): "device.command",
    ("POST", "/v1/devices/{device}/clear-alarm"): "device.clear-alarm",
    ("PUT", "/v1/devices/{device}/assignment"): "device.assign",
    ("DELETE", "/v1/devices/{device}"): "device.forget",
    ("POST", "/v1/devices/{device}/revoke"): "device.revoke",
    ("GET", "/v1/rollouts"): "rollout.read",
    ("GET", "/v1/rollouts/{region}"): "rollout.read",
    ("GET", "/v1/rollouts/{region}/{number}"): "rollout.read",
    ("POST", "/v1/rollouts/plan"): "rollout.plan",
    ("POST", "/v1/rollouts"): "rollout.start",
    ("POST", "/v1/rollouts/{region}/pause"): "rollout.pause",
    ("POST", "/v1/rollouts/{region}/resume"): "rollout.resume",
    ("POST", "/v1/rollouts/{region}/go-back"): "rollout.go-back",
    ("POST", "/v1/rollouts/{region}/approve"): "rollout.approve",
    ("POST", "/v1/rollouts/{region}/next"): "rollout.next",
    ("POST", "/v1/rollouts/{region}/abort"): "rollout.go-back",
    ("POST", "/v1/rollouts/{region}/roll-back"): "rollout.go-back",
    ("GET", "/v1/rollouts/{region}/comparison"): "rollout.read",
    ("GET", "/v1/measurements"): "release.read",
    ("GET", "/v1/wishes"): "rollout.read",
    ("GET", "/v1/events"): "event.read",
    ("GET", "/v1/live"): "device.read",
    ("GET", "/v1/releases"): "release.read",
    ("GET", "/v1/audit"): "audit.read",
    ("GET", "/v1/alerts"): "alert.read",
    ("GET", "/v1/alerts/{number}"): "alert.read",
    ("POST", "/v1/alerts/{number}/acknowledge"): "alert.hold",
    ("POST", "/v1/alerts/{number}/silence"): "alert.hold",
    ("GET", "/metrics"): "health.read",
    ("GET", "/v1/regions"): "region.read",
    ("GET", "/v1/regions/{region}"): "region.read",
    ("GET", "/v1/regions/{region}/versions"): "region.read",
    ("GET", "/v1/regions/{region}/diff"): "region.read",
    ("POST", "/v1/regions/plan"): "region.read",
    ("POST", "/v1/regions"): "region.apply",
    ("POST", "/v1/regions/{region}/freeze"): "region.freeze",
    ("POST", "/v1/regions/{region}/unfreeze"): "region.freeze",
    ("POST", "/v1/freeze"): "region.freeze",
    ("POST", "/v1/unfreeze"): "region.freeze",
    ("GET", "/v1/groups"): "group.read",
    ("GET", "/v1/groups/{group}"): "group.read",
    ("GET", "/v1/select"): "group.read",
    ("PUT", "/v1/groups/{group}"): "group.write",
    ("DELETE", "/v1/groups/{group}"): "group.write",
    ("POST", "/v1/devices/move"): "device.assign",
    ("POST", "/v1/devices/tags"): "device.assign",
    ("POST", "/v1/devices/freeze"): "device.freeze",
    ("POST", "/v1/devices/unfreeze"): "device.freeze",
    ("POST", "/v1/devices/{device}/decommission"): "device.decommission",
    ("POST", "/v1/devices/{device}/readmit"): "device.decommission",
    ("GET", "/v1/decommissioned"): "device.read",
    ("POST", "/v1/commands"): "device.command",
    ("GET", "/v1/devices/{device}/commands/{number}/answer"): "device.read",
    ("GET", "/"): "device.read",
    ("GET", "/regions/{region}"): "device.read",
    ("GET", "/regions/{region}/compare"): "device.read",
    ("GET", "/devices"): "device.read",
    ("GET", "/devices/{device}"): "device.read",
    ("GET", "/rollouts"): "rollout.read",
    ("GET", "/rollouts/{region}/{number}"): "rollout.read",
    ("GET", "/releases"): "release.read",
    ("GET", "/alerts"): "alert.read",
    ("GET", "/events"): "event.read",
    ("POST", "/alerts/{number}/acknowledge"): "alert.hold",
    ("POST", "/alerts/{number}/silence"): "alert.hold",
    ("GET", "/v1/telemetry/fleet"): "device.read",
    ("GET", "/v1/telemetry/regions/{region}"): "device.read",
    ("GET", "/v1/telemetry/releases/{model}/{number}"): "device.read",
    ("GET", "/v1/telemetry/compare/{region}"): "device.read",
    ("GET", "/v1/telemetry/devices/{device}"): "device.read",
}
"""What each route needs, written by hand: the routes themselves are read from the application."""
BODIES: dict[str, dict[str, Any]] = {
    "/v1/rollouts": {"release": "fashion/1", "regions": [SOUTH]},
    "/v1/rollouts/plan": {"release": "fashion/1", "regions": [SOUTH]},
    "/v1/devices/{device}/assignment": {"region": WEST},
    "/v1/devices/{device}/commands": {"action": "ping"},
    "/v1/regions": {"regions": {SOUTH: {}}},
    "/v1/regions/plan": {"regions": {SOUTH: {}}},
    "/v1/freeze": {},
    "/v1/unfreeze": {},
    "/v1/groups/{group}": {"query": "tag=lab"},
    "/v1/devices/move": {"devices": ["west", "south"], "region": WEST},
    "/v1/devices/tags": {"devices": ["west", "south"], "add": ["lab"]},
    "/v1/devices/freeze": {"devices": ["west", "south"]},
    "/v1/devices/unfreeze": {"devices": ["west", "south"]},
    "/v1/commands": {"devices": ["west", "south"], "action": "ping"},
}


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server that asks for tokens, and has a device in each of two regions, one that is in none, and no broker."""
    server = make_server(1, http=HttpConfig())
    for name, region in (("west", WEST), ("south", SOUTH), ("nowhere", None)):
        state = DeviceState(
            device=name, session=1, boot="b", at_s=1.0, agent_version="0.1.0", region=region, hardware=PI4
        )
        start = Start(head="h", boot="b")
        with server.database.write() as connection:
            devices.put_state(connection, state, encode(state), time.time(), live=True)
            devices.put_alarm(connection, name, Alarm(since_s=1.0, why="two copies", first=start, second=start))
            event = Event(device=name, boot="b", number=1, at_s=1.0, kind="assigned", text=name)
            events.add(connection, event, time.time())
    with server.database.write() as connection:
        groups.put(connection, groups.GroupRow("doors", "tag=door", "a test", 1.0))
    yield server
    server.database.close()


def routes(server: Server) -> list[tuple[str, str]]:
    """Return method and path of every route, as the application has them."""
    found, waiting = [], list(server.web.routes)
    while waiting:
        route = waiting.pop()
        if isinstance(route, Route | APIRoute) and route.path not in PUBLIC:
            found += [(method, route.path_format) for method in sorted((route.methods or set()) - {"HEAD", "OPTIONS"})]
        elif isinstance(route, Route | Mount):
            assert route.path in PUBLIC
        else:  # FastAPI keeps a router that was included as it is; one of a kind that has no routes fails here
            waiting += route.original_router.routes  # type: ignore[attr-defined]
    return found


def ask(server: Server, method: str, path: str, device: str = "south", **headers: str) -> Any:
    url = (
        path.replace("{device}", device).replace("{region}", SOUTH).replace("{number}", "1").replace("{group}", "doors")
    )
    url += "?seconds=0" if path == "/v1/live" else ""
    client = TestClient(server.web, base_url="http://127.0.0.1:8300", raise_server_exceptions=False)
    body = None if method == "GET" else BODIES.get(path, {})
    return client.request(method, url, json=body, headers=headers)


def as_actor(server: Server, actor: Actor) -> None:
    server.web.dependency_overrides[current_actor] = lambda: actor


def bearer(server: Server, role: str, *regions: str, life_s: float = 60.0) -> str:
    with server.database.write() as connection:
        scope = frozenset(regions) or None
        return "Bearer " + tokens.new(connection, "ana", role, scope, time.time(), life_s)[1]


def footprint(server: Server) -> object:
    """What must not change by a request that is refused."""
    with server.database.read() as connection:
        known = [(row.id, row.region, row.assigned_number, row.alarm) for row in devices.every(connection)]
    return known, server.views.rollouts(), server.repository.rollout(SOUTH), server.repository.rollout(WEST)


def test_every_route_is_in_the_table_of_what_it_needs(server: Server) -> None:
    assert sorted(routes(server)) == sorted(NEEDS)


def test_nobody_gets_anything_without_a_token_and_is_told_how_to_get_one(server: Server) -> None:
    before = footprint(server)
    for method, path in routes(server):
        for headers in ({}, {"Authorization": "Bearer ef_" + "x" * 43}, {"Authorization": "Basic YTpi"}):
            answer = ask(server, method, path, **headers)
            assert answer.status_code == 401, (method, path)
            assert "edgefleet server token new" in answer.json()["detail"]
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert footprint(server) == before
    rows = [row for row in server.views.audit(1000) if row["action"] == "token.use"]
    assert 0 < len(rows) <= 20  # whoever guesses does not fill the disk


@pytest.mark.parametrize("role", [*ROLES, "a role of a later version"])
def test_each_role_may_do_what_the_table_says_and_nothing_else(server: Server, role: str) -> None:
    actions = ROLES.get(role, frozenset())  # type: ignore[call-overload]
    before = footprint(server)
    header = bearer(server, role)
    refused = [row for row in NEEDS if NEEDS[row] not in actions]
    for method, path in refused:
        answer = ask(server, method, path, Authorization=header)
        assert answer.status_code == 403, (method, path)
        assert f"ana may not {NEEDS[method, path]}" in answer.json()["detail"]
    assert footprint(server) == before
    written = [row["action"] for row in server.views.audit(1000) if row["outcome"].startswith("refused")]
    assert sorted(written) == sorted(NEEDS[row] for row in refused)
    for method, path in NEEDS:
        if (method, path) not in refused and method == "GET":
            status = ask(server, method, path, Authorization=header).status_code
            assert status == (404 if "{number}" in path else 200), (method, path)


def test_s38_nobody_reaches_another_regions_devices_or_rollouts_by_any_route(server: Server) -> None:
    before = footprint(server)
    header = bearer(server, "admin", WEST)
    for method, path in routes(server):
        answer = ask(server, method, path, Authorization=header)
        if "{device}" in path:
            assert (answer.status_code, answer.json()["detail"][:20]) == (404, "no device south is k"), (method, path)
            assert ask(server, method, path, "nowhere", Authorization=header).status_code == 404, (method, path)
        elif "devices" in BODIES.get(path, {}):
            assert (answer.status_code, answer.json()["detail"][:20]) == (404, "no device south is k"), (method, path)
        elif "{region}" in path or (method != "GET" and path in BODIES):
            assert answer.status_code == 403, (method, path)
        elif "{number}" in path:
            assert answer.status_code == 404, (method, path)
        else:
            assert answer.status_code == 200, (method, path)
            assert "south" not in re.sub(r"ap-south|asimd", "", answer.text) and "nowhere" not in answer.text, (
                method,
                path,
            )
            assert SOUTH not in answer.text or path == "/v1/audit", (method, path)
    assert footprint(server) == before


def test_s38_a_list_with_one_foreign_region_does_nothing_in_any(server: Server) -> None:
    before = footprint(server)
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    header = {"Authorization": bearer(server, "releaser", WEST)}
    for regions in ([WEST, SOUTH], [SOUTH], []):
        body = {"release": "fashion/1", "regions": regions, "force": True}
        for path in ("/v1/rollouts", "/v1/rollouts/plan"):
            assert client.post(path, json=body, headers=header).status_code == 403
    assert footprint(server) == before
    for query in (f"region={SOUTH}", f"region={SOUTH}&past=true"):
        assert client.get(f"/v1/rollouts?{query}", headers=header).status_code == 403
    assert client.get(f"/v1/devices?region={SOUTH}", headers=header).status_code == 403
    assert client.get("/v1/events?device=south", headers=header).json()["items"] == []


def test_a_device_is_not_taken_from_another_region_by_assigning_it_to_ones_own(server: Server) -> None:
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    header = {"Authorization": bearer(server, "operator", WEST)}
    for device in ("south", "nowhere", "never-heard-of"):
        answer = client.put(f"/v1/devices/{device}/assignment", json={"region": WEST}, headers=header)
        assert answer.status_code == 404
    assert client.put("/v1/devices/west/assignment", json={"region": SOUTH}, headers=header).status_code == 403
    refusals = [row for row in server.views.audit(1000) if row["outcome"].startswith("refused")]
    assert [(row["subject"], row["region"]) for row in refusals] == [("", SOUTH), ("nowhere", None), ("south", SOUTH)]


def test_in_its_own_region_a_right_is_a_right(server: Server) -> None:
    client = TestClient(server.web, base_url="http://127.0.0.1:8300")
    header = {"Authorization": bearer(server, "admin", WEST)}
    assert [row["id"] for row in client.get("/v1/devices", headers=header).json()["items"]] == ["west"]
    assert client.post("/v1/devices/west/clear-alarm", json={"why": "one burnt"}, headers=header).status_code == 200
    assert client.put("/v1/devices/west/assignment", json={"region": WEST}, headers=header).status_code == 200
    assert "counters" not in client.get("/healthz", headers=header).json()


def test_a_token_ends_by_its_time_and_at_once_when_it_is_revoked(server: Server) -> None:
    late, gone = bearer(server, "viewer", life_s=-1.0), bearer(server, "viewer")
    assert ask(server, "GET", "/v1/devices", Authorization=late).json()["detail"].startswith("token ")
    assert ask(server, "GET", "/v1/devices", Authorization=gone).status_code == 200
    with server.database.write() as connection:
        (row, *_) = [one for one in tokens.every(connection) if one.expires_s > time.time()]
        tokens.revoke(connection, row.id, time.time())
    answer = ask(server, "GET", "/v1/devices", Authorization=gone)
    assert answer.status_code == 401 and f"token {row.id} of ana was revoked" in answer.json()["detail"]


def test_the_database_holds_no_token(server: Server) -> None:
    secret = bearer(server, "admin").split()[1]
    server.database.close()
    for file in (server.config.data).iterdir():
        assert secret.encode() not in file.read_bytes(), file


def test_the_first_admin_is_made_by_a_command_while_the_server_runs(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "server.toml"
    config.write_text(f"repository = '{server.config.repository}'\nkeys = 'keys'\ndata = '{server.config.data}'\n")
    where = ["--config", str(config)]
    assert server_command(["admin", "new", "ana", *where]) == 0
    secret = capsys.readouterr().out.strip()
    assert re.fullmatch(r"ef_[A-Za-z0-9_-]{43}", secret)
    assert ask(server, "GET", "/v1/audit", Authorization=f"Bearer {secret}").json()["items"][0]["action"] == "token.new"
    assert server_command(["token", "new", "bob", "--role", "viewer", "--region", "mars", *where]) == 3
    assert "there is no region mars" in capsys.readouterr().err
    assert server_command(["token", "new", "bob", "--role", "viewer", "--region", WEST, "--days", "1", *where]) == 0
    capsys.readouterr()
    assert server_command(["token", "list", *where]) == 0
    listed = capsys.readouterr().out
    assert "bob" in listed and secret not in listed
    token = next(line.split()[0] for line in listed.splitlines() if "ana" in line)
    assert server_command(["token", "revoke", token, *where]) == 0
    assert ask(server, "GET", "/v1/audit", Authorization=f"Bearer {secret}").status_code == 401
    assert server_command(["token", "revoke", "nothing", *where]) == 3


def test_a_browser_without_a_token_gets_the_door_and_nothing_else(server: Server) -> None:
    client = TestClient(server.web, base_url="http://127.0.0.1:8300", headers={"Accept": "text/html"})
    for path in ("/", "/devices", "/devices/south", "/regions/eu-west", "/alerts"):
        page = client.get(path)
        assert page.status_code == 401 and 'id="door"' in page.text
        assert not any(name in page.text.replace(path, "") for name in ("west", "south", "demo"))


def test_the_page_of_documentation_says_what_the_code_does() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/rights.md").read_text()
    assert table() in page


def test_s38_no_answer_tells_a_foreign_device_from_one_that_never_was(server: Server) -> None:
    everywhere, header = bearer(server, "admin"), bearer(server, "admin", WEST)
    for method, path in (("POST", "/v1/devices/{device}/revoke"), ("POST", "/v1/devices/{device}/readmit")):
        said = [ask(server, method, path, name, Authorization=header) for name in ("south", "never-was")]
        assert [answer.status_code for answer in said] == [404, 404], path
        assert said[0].text.replace("south", "never-was") == said[1].text, path
    for name in ("nowhere", "south"):
        path = f"/v1/devices/{name}/decommission"
        assert ask(server, "POST", path, Authorization=everywhere).status_code == 200
    said = [ask(server, "POST", "/v1/devices/{device}/readmit", name, Authorization=header) for name in ("south", "no")]
    assert said[0].text.replace("south", "no") == said[1].text
    page = ask(server, "GET", "/v1/decommissioned?limit=1", Authorization=header).json()
    assert page == {"items": [], "next": None}, "the mark of a page is a name, too"
    assert ask(server, "GET", "/v1/decommissioned?limit=1", Authorization=everywhere).json()["next"] == "nowhere"
