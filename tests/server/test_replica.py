"""API replicas: processes over the same PostgreSQL that answer beside the server, which alone signs and speaks MQTT."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState
from edgefleet_server.app import Server
from edgefleet_server.beating import SERVER, Heard
from edgefleet_server.cli.device import main as device_command
from edgefleet_server.client import Api, Failed
from edgefleet_server.commands import server as server_command
from edgefleet_server.config import HttpConfig
from edgefleet_server.errors import BadConfig, ServerError
from edgefleet_server.ingest.lineage import Alarm, Start
from edgefleet_server.replica.app import Replica
from edgefleet_server.rollouts import controller as controller_module
from edgefleet_server.rollouts.learning import Learnt
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.rollouts.pairs import Pair
from edgefleet_server.store import comparisons, devices, measurements, processes, tokens
from edgefleet_server.store.place import DatabaseConfig
from edgefleet_server.store.processes import Process
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.postgres import Postgres
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import PI4, ScriptedDevice, eventually

from .conftest import MakeServer
from .test_model_gate import in_a_heat_wave

WEST, SOUTH = "eu-west", "ap-south"


@contextmanager
def replica_process(folder: Path, repo: FakeRepository, database: str) -> Iterator[str]:
    """`edgefleet server api` on a port of its own, without keys and without a passphrase; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "replica.toml"
    config.write_text(
        f"repository = {json.dumps(str(repo.folder))}\nkeys = 'not-here'\ndata = 'not-here'\n[http]\nopen = true\n"
        f"url = 'http://main.example'\n[database]\nurl = {json.dumps(database)}\n[broker]\nport = 1\nopen = true\n"
    )
    program = "import sys; from edgefleet_server.commands import server; sys.exit(server(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "api", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    environment = {name: value for name, value in os.environ.items() if "PASSPHRASE" not in name}
    log, url = folder / "replica.log", f"http://127.0.0.1:{port}"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{url}/livez", trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        try:
            eventually("the replica answers", answers)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(30)
    assert ended == 0 and "Traceback" not in log.read_text(), log.read_text()


def test_a_rollout_started_at_a_replica_is_carried_out_by_the_server_and_seen_there(
    broker: BrokerProcess, make_server: MakeServer, repo: FakeRepository, tmp_path: Path, postgres: Postgres,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    where = DatabaseConfig(url=postgres.new())
    server = make_server(broker.port, database=where)
    with replica_process(tmp_path, repo, where.url) as url:
        api = Api(url)
        with server, ScriptedDevice(broker.port, "one", WEST) as one, ScriptedDevice(broker.port, "two", WEST):
            eventually("both are seen at the replica", lambda: len([*api.devices(region=WEST)]) == 2)
            eventually("it sees the server and its broker", lambda: api.health().broker_connected)
            told: list[str] = []
            stream = threading.Thread(
                target=lambda: told.extend(
                    str(row.data.get("status")) for row in Api(url).live(seconds=60) if row.event == "rollout"
                ),
                daemon=True,
            )
            stream.start()
            assert api.start("fashion/1", [WEST]).regions[0].matched == 2
            eventually("complete", lambda: api.rollouts_of(WEST)[0].status == "complete")
            eventually("the device runs it", lambda: one.running["fashion"].release == "fashion/1")
            eventually("the stream at the replica told it", lambda: "complete" in told)
            page = httpx.get(f"{url}/regions/{WEST}", trust_env=False)
            assert page.status_code == 200 and "fashion/1" in page.text and "one" in page.text
            health = api.health()
            assert (health.role, health.server["here"], health.server["why"]) == ("replica", True, "")
            assert {row["kind"] for row in health.processes} == {"server", "api"}
            assert {row["kind"] for row in server.views.health()["processes"]} == {"server", "api"}
            ready = httpx.get(f"{url}/readyz", trust_env=False)
            assert (ready.status_code, ready.json()["without"]) == (200, [])

        # The server has ended: reading goes on, and it is said that nobody carries anything out.
        eventually("it is told", lambda: api.health().server["here"] is False)
        health = api.health()
        assert health.broker_connected is False and "no server has the database" in health.server["why"]
        ready = httpx.get(f"{url}/readyz", trust_env=False)
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "waiting_for": [], "without": ["server"]})
        assert api.rollouts_of(WEST)[0].status == "complete"
        assert len([*api.devices(region=WEST)]) == 2
        page = httpx.get(f"{url}/", trust_env=False)
        assert page.status_code == 200 and "server is away" in page.text
        with pytest.raises(Failed, match=r"nothing was done\. Ask the server itself at http://main\.example"):
            api.assign("one", SOUTH)
        assert device_command(["revoke", "one", "--server", url]) == 1
        assert "Next: send the same request to http://main.example" in capsys.readouterr().err
        # What needs the database alone is stored all the same, and waits for the server.
        assert api.start("fashion/2", [WEST]).broker_connected is False

        with make_server(broker.port, database=where) as server, ScriptedDevice(broker.port, "one", WEST, session=2):
            eventually("it is here again", lambda: api.health().server["here"] is True)
            eventually("signed", lambda: "fashion/2" in str(server.repository.rollout(WEST)))


# In one process, without a broker


@pytest.fixture
def pair(make_server: MakeServer, postgres: Postgres) -> Iterator[tuple[Server, Replica]]:
    """A server that asks for tokens, with two devices, and a replica of it; neither has a broker."""
    server = make_server(1, http=HttpConfig(), database=DatabaseConfig(url=postgres.new()))
    for name, region in (("west-1", WEST), ("south-1", SOUTH)):
        state = DeviceState(
            device=name,
            session=1,
            boot="b",
            at_s=1.0,
            agent_version="0.1.0",
            region=region,
            hardware=PI4,
            command_epoch="e",
        )
        with server.database.write() as connection:
            devices.put_state(connection, state, encode(state), time.time(), live=True)
    replica = Replica(replace(server.config, http=replace(server.config.http, url="https://main.example:8300")))
    replica.main.look()
    yield server, replica
    replica.database.close()
    server.database.close()


def header(server: Server, role: str, *regions: str) -> dict[str, str]:
    with server.database.write() as connection:
        secret = tokens.new(connection, "ana", role, frozenset(regions) or None, time.time(), 600.0)[1]
    return {"Authorization": f"Bearer {secret}"}


def everything(server: Server) -> dict[str, list[Any]]:
    """Every row of every table, but for who is alive and which answers are kept."""
    with server.database.read() as connection:
        names = connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")).scalars().all()
        return {
            name: sorted(map(repr, connection.execute(text(f'SELECT * FROM "{name}"')).all()))
            for name in names
            if name not in ("processes", "answers")
        }


SERVERS_OWN: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("POST", "/v1/devices/west-1/commands", {"action": "look"}),
    ("POST", "/v1/commands", {"devices": ["west-1", "south-1"], "action": "look"}),
    ("PUT", "/v1/devices/west-1/assignment", {"region": SOUTH, "tags": []}),
    ("POST", "/v1/devices/west-1/revoke", {}),
    ("POST", "/v1/devices/west-1/decommission", {"kept": "forget"}),
    ("POST", "/v1/devices/move", {"devices": ["west-1"], "region": SOUTH}),
    ("POST", "/v1/devices/tags", {"devices": ["west-1"], "add": ["door"]}),
    ("POST", "/v1/devices/freeze", {"devices": ["west-1"]}),
    ("POST", "/v1/devices/unfreeze", {"devices": ["west-1"]}),
)
"""What is signed or sent at once."""


def test_what_only_the_server_can_do_is_refused_with_its_address_and_changes_nothing(
    pair: tuple[Server, Replica],
) -> None:
    server, replica = pair
    admin, before = header(server, "admin"), None
    with TestClient(replica.web, base_url="http://127.0.0.1") as ask:
        before = everything(server)
        for number, (method, path, body) in enumerate(SERVERS_OWN):
            for _ in range(2):  # a key is free again: the same request may go to the server with it
                headers = {**admin, "Idempotency-Key": f"key-{number}"}
                answer = ask.request(method, f"/api{path}", json=body, headers=headers)
                assert answer.status_code == 503, (path, answer.text)
                said = answer.json()
                assert (
                    said["type"] == "urn:edgefleet:problem:not-here"
                    and answer.headers["content-type"] == "application/problem+json"
                )
                assert said["server"] == "https://main.example:8300" and said["server"] in said["next"]
                assert "Retry-After" not in answer.headers, "to wait would not help"
        assert everything(server) == before
        # Rights come first, in the words of the server.
        viewer = header(server, "viewer")
        for method, path, body in SERVERS_OWN:
            assert ask.request(method, f"/api{path}", json=body, headers=viewer).status_code == 403, path
            assert ask.request(method, f"/api{path}", json=body).status_code == 401, path


def test_what_the_database_alone_decides_is_done_through_a_replica(pair: tuple[Server, Replica]) -> None:
    server, replica = pair
    admin = header(server, "admin")
    with server.database.write() as connection:
        devices.put_alarm(
            connection,
            "south-1",
            Alarm(since_s=1.0, why="two copies", first=Start(head="a", boot="b"), second=Start(head="c", boot="d")),
        )
    with TestClient(replica.web, base_url="http://127.0.0.1") as ask:

        def done(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
            answer = ask.request(method, f"/api{path}", json=body, headers=admin)
            assert answer.status_code in (200, 201), answer.text
            return answer.json()

        done("PUT", "/v1/groups/doors", {"query": "tag=door"})
        done("POST", f"/v1/regions/{WEST}/freeze", {"why": "the holidays"})
        assert server.regions.frozen() == {WEST: "ana: the holidays"}
        done("POST", f"/v1/regions/{WEST}/unfreeze", {"why": ""})
        done("POST", "/v1/regions", {"regions": {WEST: {"policy": {"battery_floor_percent": 40}}}})
        assert server.regions.settings(WEST)[0].policy.battery_floor_percent == 40
        done("POST", "/v1/devices/south-1/clear-alarm", {"why": "one is off"})
        done("POST", "/v1/rollouts", {"release": "fashion/1", "regions": [WEST]})
        assert server.repository.rollout(WEST) is None, "stored by whoever was asked"
        server.controller.turn()
        assert "fashion/1" in str(server.repository.rollout(WEST)), "signed by the server"
        done("POST", f"/v1/rollouts/{WEST}/pause", {"why": "wait"})
        assert server.views.rollouts(WEST)[0]["status"] == "paused"
        done("DELETE", "/v1/devices/south-1?force=true")
        assert [row["id"] for row in server.views.devices()] == ["west-1"]
        assert ask.get("/api/v1/audit", headers=admin).json()["items"][0]["action"] == "device.forget"


def test_what_the_servers_controller_found_is_seen_at_a_replica_which_keeps_nothing_of_its_own(
    pair: tuple[Server, Replica], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_module, "FOLLOW_S", 0.0)
    server, replica = pair
    admin = header(server, "admin")
    assert replica.controller.learnt() == {}
    with server.database.write() as connection:
        measurements.put(
            connection, {("fashion/1", "fp32", "pi4"): Learnt(devices=3, p50_s=0.01, p95_s=0.02)}, time.time()
        )
    server.controller.learnt()
    server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    (record,) = server.controller.current(WEST)
    assert replica.controller.pairs(record) == ()
    with server.database.write() as connection:
        comparisons.add(connection, record.id, [Pair("west-1", "pi4", 1.0, "fashion/1", 100, 100, 0, 0)])
    with TestClient(replica.web, base_url="http://127.0.0.1") as ask:

        def get(path: str) -> Any:
            answer = ask.get(f"/api{path}", headers=admin)
            assert answer.status_code == 200, answer.text
            return answer.json()["items"]

        before = everything(server)
        assert [row.device for row in replica.controller.pairs(record)] == ["west-1"]
        assert [row["variant"] for row in get("/v1/measurements")] == ["fp32"]
        get(f"/v1/rollouts/{WEST}/comparison")
        plans = [
            one.plan(Order("fashion/1", regions=(WEST,), force=True)) for one in (server.controller, replica.controller)
        ]
        assert [row.digest for row in plans[0]] == [row.digest for row in plans[1]]
        assert everything(server) == before, "to look changes nothing"


def test_the_server_and_a_replica_tell_the_same_of_two_models_in_a_heat_wave(
    make_server: MakeServer, repo: FakeRepository, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_module, "FOLLOW_S", 0.0)
    fleet = in_a_heat_wave(make_server, repo, database=DatabaseConfig(url=postgres.new()))
    server = fleet.server
    replica = Replica(replace(server.config, http=replace(server.config.http, open=True)), fleet.clock)
    try:
        path, told = f"/api/v1/rollouts/{WEST}/comparison", []
        for web in (server.web, replica.web):
            with TestClient(web, base_url="http://127.0.0.1") as ask:
                told.append(ask.get(path).json()["items"])
        assert "devices that kept the model before changed by that, too" in str(told[0])
        assert told[0] == told[1]
    finally:
        replica.database.close()
        server.database.close()


def test_a_replica_needs_postgresql_the_servers_tables_and_an_address_that_is_safe(
    make_server: MakeServer,
    repo: FakeRepository,
    tmp_path: Path,
    postgres: Postgres,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = make_server(1)
    with pytest.raises(BadConfig, match=r"SQLite has one writer.*The server itself answers the API"):
        Replica(server.config)
    server.database.close()
    with pytest.raises(ServerError, match="start the server of this version first"):
        Replica(replace(server.config, database=DatabaseConfig(url=postgres.new())))
    config = tmp_path / "server.toml"
    config.write_text(f"repository = '{repo.folder}'\nkeys = 'keys'\ndata = 'data'\n[http]\nopen = true\n")
    for listen, said in (
        ("0.0.0.0:8301", "http.open is for loopback"),
        ("8301", "no address"),
        ("127.0.0.1:0", "no address"),
    ):
        assert server_command(["api", "--config", str(config), "--listen", listen]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("apart_s", [-90.0, 90.0])
def test_a_server_that_is_silent_is_noticed_however_far_its_clock_is_from_the_replicas(
    pair: tuple[Server, Replica], apart_s: float
) -> None:
    server, replica = pair
    passed = SimpleNamespace(s=0.0)
    replica.main.heard = Heard(lambda: passed.s)

    def seen() -> tuple[str | None, bool]:
        replica.main.look()
        (shown,) = replica.views.health()["processes"]
        return replica.main.seen.away, shown["silent"]

    def beat() -> None:
        says = Process(SERVER, "server", 1.0, time.time() + apart_s + passed.s, {})
        with server.database.append() as connection:
            processes.put(connection, says)

    beat()
    assert seen() == (None, False)
    for passed.s in (15.0, 30.0, 45.0):
        beat()
        assert seen() == (None, False)
    passed.s = 60.0
    assert seen() == (None, False)
    passed.s = 105.0
    assert seen() == ("the server has the database, and has said nothing for 60 s", True)
    beat()
    assert seen() == (None, False), "it is back"


def test_a_server_of_another_form_is_noticed(pair: tuple[Server, Replica]) -> None:
    server, replica = pair
    with server.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ServerError, match="form 9999"):
        replica.database.check_form()


def test_a_replicas_metrics_are_its_own(pair: tuple[Server, Replica]) -> None:
    server, replica = pair
    with TestClient(replica.web, base_url="http://127.0.0.1") as ask:
        page = ask.get("/metrics", headers=header(server, "viewer")).text
        assert "edgefleet_replica_sees_server 1" in page
        assert "edgefleet_devices" not in page, "they would be counted twice"
        assert ask.get("/metrics", headers=header(server, "viewer", WEST)).text.strip() == ""
