"""The live stream and the client, over real HTTP."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event
from edgefleet_server.app import Server
from edgefleet_server.cli.rollout import main as rollout
from edgefleet_server.client import Api, Conflict, Denied, NoServer, NotThere
from edgefleet_server.client import BadRequest as Bad
from edgefleet_server.client.types import Live
from edgefleet_server.config import HttpConfig
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.store import devices, events, tokens
from tests.fakes.scripted_device import PI4, eventually
from tests.fakes.web_server import WebServer

from .conftest import MakeServer

WEST, SOUTH = "eu-west", "ap-south"


@pytest.fixture
def server(make_server: MakeServer) -> Iterator[Server]:
    """A server that asks for tokens, with two devices in each of two regions; it has no broker."""
    server = make_server(1, http=HttpConfig())
    for name, region in (("west-1", WEST), ("west-2", WEST), ("south-1", SOUTH), ("south-2", SOUTH)):
        heard(server, name, region)
    yield server
    server.database.close()


@pytest.fixture
def web(server: Server) -> Iterator[WebServer]:
    with WebServer(server.web) as web:
        yield web


def heard(server: Server, name: str, region: str) -> None:
    state = DeviceState(device=name, session=1, boot="b", at_s=1.0, agent_version="0.1.0", region=region, hardware=PI4)
    with server.database.write() as connection:
        devices.put_state(connection, state, encode(state), time.time(), live=True)


def secret(server: Server, role: str, *regions: str) -> str:
    with server.database.write() as connection:
        return tokens.new(connection, "ana", role, frozenset(regions) or None, time.time(), 600.0)[1]


def happened(server: Server, device: str, number: int) -> None:
    event = Event(device=device, boot="b", number=number, at_s=1.0, kind="noted", text=f"{device} {number}")
    with server.database.write() as connection:
        events.add(connection, event, time.time())


def ready(stream: Iterator[Live]) -> str:
    """Read up to the message after which every change is told; return its name."""
    return next(message.event for message in stream if message.event in ("ready", "reset"))


def texts(stream: Iterator[Live], count: int) -> list[str]:
    found: list[str] = []
    for message in stream:
        if message.event == "happened":
            found.append(message.data["text"])
        if len(found) == count:
            return found
    raise AssertionError(f"the stream ended after {found}")


def test_what_changes_is_told_to_whoever_may_see_it_and_to_nobody_else(server: Server, web: WebServer) -> None:
    whole = Api(web.url, token=secret(server, "viewer")).live()
    west = Api(web.url, token=secret(server, "viewer", WEST)).live()
    only = Api(web.url, token=secret(server, "viewer")).live(SOUTH)
    assert [ready(stream) for stream in (whole, west, only)] == ["ready"] * 3
    happened(server, "south-1", 1)
    happened(server, "west-1", 2)
    server.controller.begin(Order("fashion/1", regions=(WEST,)), "a test")
    assert texts(whole, 2) == ["south-1 1", "west-1 2"]
    assert texts(only, 1) == ["south-1 1"]
    seen = []
    for message in west:
        seen.append(message)
        if {row.event for row in seen} >= {"happened", "rollout"}:
            break
    assert SOUTH not in str(seen) and "south" not in str(seen)
    assert next(row.data["status"] for row in seen if row.event == "rollout") == "running"
    with pytest.raises(Denied, match=r"may not device\.read in ap-south"):
        next(Api(web.url, token=secret(server, "viewer", WEST)).live(SOUTH))
    with pytest.raises(NotThere, match="there is no region mars"):
        next(Api(web.url, token=secret(server, "viewer")).live("mars"))


def test_who_comes_back_gets_what_it_missed_or_is_told_to_look_anew(server: Server, web: WebServer) -> None:
    api = Api(web.url, token=secret(server, "viewer"))
    other = api.live()  # somebody else goes on watching
    assert ready(other) == "ready"
    stream = api.live()
    assert ready(stream) == "ready"
    happened(server, "west-1", 1)
    (last,) = [next(row for row in stream if row.event == "happened")]
    stream.close()  # type: ignore[attr-defined]
    happened(server, "west-1", 2)
    assert texts(other, 2) == ["west-1 1", "west-1 2"]
    again = api.live(last_id=last.id)
    assert ready(again) == "ready" and texts(again, 1) == ["west-1 2"]
    assert ready(api.live(last_id="of-another-server-7")) == "reset"
    assert ready(api.live(last_id=f"{(last.id or '').partition('-')[0]}-999999")) == "reset"
    for one in (other, again):
        one.close()  # type: ignore[attr-defined]
    eventually("nobody watches", lambda: not server.web.state.live.watching)
    # What changed while nobody watched is not known.
    assert ready(api.live(last_id=last.id)) == "reset"


def test_a_stream_ends_by_itself_and_says_that_nobody_may_store_it(server: Server, web: WebServer) -> None:
    headers = {"Authorization": f"Bearer {secret(server, 'viewer')}"}
    answer = httpx.get(f"{web.url}/api/v1/live?seconds=0.3", headers=headers, trust_env=False)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert "event: ready" in answer.text and "etag" not in answer.headers


def test_the_client_speaks_for_every_route(server: Server, web: WebServer) -> None:
    with Api(web.url, token=secret(server, "admin")) as api:
        assert api.health().fleet == "demo" and api.overview().counts["total"]["devices"] == 4
        assert [row.id for row in api.devices(region=WEST)] == ["west-1", "west-2"]
        assert api.device("west-1").document is not None and api.latency("west-1").models == ()
        assert api.plan("fashion/1", [WEST]).regions[0].matched == 2
        started = api.start("fashion/1", [WEST], stages=[50, 100])
        assert (started.regions[0].release, started.broker_connected) == ("fashion/1", False)
        (row,) = api.rollouts_of(WEST)
        assert (row.status, row.stages[0].state, api.rollout(WEST, row.id).id) == ("running", "open", row.id)
        assert api.pause(WEST, why="lunch")[0].status == "paused"
        assert api.resume(WEST)[0].status == "running"
        assert api.go_back(WEST)[0].status == "gone-back"
        assert [one.status for one in api.rollouts()] == ["gone-back"]
        assert api.assign("west-2", SOUTH, ["lab"]).tags == ("lab",)
        assert api.forget("south-2", force=True).device == "south-2"
        assert [row.release for row in api.releases(model="fashion")] == ["fashion/1", "fashion/2"]
        assert {row.action for row in api.audit(by="ana")} >= {"rollout.start", "rollout.pause", "device.assign"}
        assert list(api.alerts(past=True)) == [] and list(api.commands("west-1")) == []
        for call, kind, status in (
            (lambda: api.device("nobody"), NotThere, 404),
            (lambda: api.alert(7), NotThere, 404),
            (lambda: api.start("fashion/1", ["eu-west"], stages=[100, 50]), Bad, 422),
            (lambda: api.pause(WEST), Conflict, 409),
            (lambda: api.send("west-1", "ping"), Conflict, 409),
        ):
            with pytest.raises(kind) as caught:
                call()
            assert caught.value.problem is not None and caught.value.problem.status == status
    with pytest.raises(Denied) as refused:
        Api(web.url).health()
    assert refused.value.next and "edgefleet server token new" in refused.value.next
    with pytest.raises(Bad, match="use https"):
        Api("http://fleet.example", token="ef_x")


def test_the_client_goes_through_all_pages_by_itself(server: Server, web: WebServer) -> None:
    with server.database.write() as connection:
        for number in range(1203):
            event = Event(device="west-1", boot="b", number=number, at_s=1.0, kind="noted", text=str(number))
            events.add(connection, event, 1000.0)
    found = [row.text for row in Api(web.url, token=secret(server, "viewer")).events(device="west-1")]
    assert found == [str(number) for number in reversed(range(1203))]


def test_the_client_says_that_nobody_answers_and_outlives_a_server_that_starts_anew(server: Server) -> None:
    with pytest.raises(NoServer, match=r"no server answers at http://127\.0\.0\.1:1"):
        Api("http://127.0.0.1:1").health()
    token = secret(server, "releaser")
    with WebServer(server.web) as first:
        api = Api(first.url, token=token)
        assert api.health().fleet == "demo"
        port = first.port
    with WebServer(server.web, port):
        assert api.start("fashion/1", [WEST]).regions[0].matched == 2
    assert len(server.views.rollouts(past=True)) == 1


def test_the_client_needs_nothing_that_the_server_needs() -> None:
    """Its files alone, with the server's dependencies out of reach."""
    code = (
        "import sys\n"
        "for name in ('fastapi', 'starlette', 'pydantic', 'sqlalchemy', 'alembic', 'httpx', 'uvicorn', 'jinja2', 'paho',"
        " 'cryptography', 'typing_extensions', 'edgefleet_protocol', 'edgefleet_trust'):\n"
        "    sys.modules[name] = None\n"
        "before = set(sys.modules)\n"  # what a site's own .pth files import
        "import edgefleet_server.client\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before if 'site-packages' in"
        " str(getattr(sys.modules[name], '__file__', ''))}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['msgspec']"


def test_a_rollout_is_watched_until_it_ends(
    server: Server, web: WebServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEFLEET_TOKEN", secret(server, "viewer"))
    server.controller.begin(Order("fashion/1", regions=(WEST,)), "a test")
    timer = threading.Timer(1.0, lambda: server.controller.go_back(WEST, None, "a test", "it is enough"))
    timer.start()
    assert rollout(["watch", "1", "--json", "--server", web.url]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [lines[0]["status"], lines[-1]["status"]] == ["running", "gone-back"]
    assert lines[-1]["why"].endswith("it is enough")
    assert rollout(["watch", WEST, "--server", web.url]) == 1
    assert "gone-back" in capsys.readouterr().out
    assert rollout(["watch", "99", "--server", web.url]) == 3
    server.controller.begin(Order("fashion/2", regions=(WEST,)), "a test")
    assert rollout(["watch", WEST, "--timeout", "1", "--server", web.url]) == 6
