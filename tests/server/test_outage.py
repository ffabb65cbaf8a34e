"""PostgreSQL goes away and comes back: what is said of it, in how many lines, and who holds what afterwards."""

import logging
import threading

import httpx
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

from edgefleet_server.api import live as live_module
from edgefleet_server.client import Api
from edgefleet_server.config import IngestConfig, KeepConfig
from edgefleet_server.errors import ServerError
from edgefleet_server.ingest.helper import Helper
from edgefleet_server.regions import gone as gone_module
from edgefleet_server.replica.app import Replica
from edgefleet_server.store import telemetry
from edgefleet_server.store.database import Database
from edgefleet_server.store.outage import Outage
from edgefleet_server.store.place import DatabaseConfig
from edgefleet_server.views.processes import every_process
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.postgres import Postgres
from tests.fakes.scripted_device import ScriptedDevice, eventually
from tests.fakes.sender import Sender
from tests.fakes.web_server import WebServer

from .conftest import MakeServer

MUCH = KeepConfig(windows_per_device_per_hour=10**6)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [row.getMessage() for row in caplog.records if row.levelno >= logging.WARNING]


def test_an_outage_under_load_is_told_in_two_lines_with_what_failed_in_between(
    broker: BrokerProcess, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gone_module, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(live_module, "EVERY_S", 0.1)
    with Postgres() as cluster:
        where = DatabaseConfig(url=cluster.new())
        with (
            make_server(broker.port, database=where, keep=MUCH) as server,
            WebServer(server.web) as web,
            ScriptedDevice(broker.port, "two", "eu-west") as two,
            Sender(broker.port, "one", pause_s=0.01) as sender,
        ):
            api = Api(web.url)
            threading.Thread(target=lambda: [*Api(web.url).live(seconds=120)], daemon=True).start()
            eventually("it works", lambda: server.counters.get("windows_taken") > 0)
            eventually("somebody watches", lambda: server.web.state.live.looks > 0)
            caplog.clear()
            cluster.stop()
            parts = ("database_faults", "controller_faults", "publish_faults", "rollup_faults")
            before = {name: server.counters.get(name) for name in parts}
            eventually("each met it twice", lambda: all(server.counters.get(name) > before[name] + 1 for name in parts))
            two.event("noted", "while it was away")
            for key in (None, "a-key"):
                headers = {"Idempotency-Key": key} if key else {}
                body = {"release": "fashion/1", "regions": ["eu-west"]}
                answer = httpx.post(f"{web.url}/api/v1/rollouts", json=body, headers=headers, trust_env=False)
                assert answer.status_code == 503, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                assert int(answer.headers["retry-after"]) > 0
                assert answer.json()["type"] == "urn:edgefleet:problem:unavailable"
            assert httpx.get(f"{web.url}/devices", trust_env=False, headers={"Accept": "text/html"}).status_code == 503
            cluster.start()
            sender.stop()
            eventually("all is there", lambda: server.counters.get("windows_taken") == 5 * sender.sent)
            eventually("it is over", lambda: server.database.outage.since_s == 0)
            assert api.start("fashion/1", ["eu-west"]).regions
            said = [line for line in lines(caplog) if "it could not" not in line]
            first, *more, last = said
            assert first.startswith("the database refuses (")
            assert last.startswith("the database works again, after ")
            for part in ("rollouts", "publishing", "roll-ups", "requests 3", "live stream"):
                assert part in last, last
            # Which of the two meets it depends on what was on its way: who waits with the one hands nothing to the other.
            assert "telemetry" in last or "what devices say" in last, last
            assert more == ["the lock on the database was lost with its connection, and is taken again"]
            assert not [row for row in caplog.records if row.exc_info], "no trace"


def test_a_helper_takes_its_number_again_after_a_restart_and_tells_the_outage_in_two_lines(
    broker: BrokerProcess, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gone_module, "LOOK_EVERY_S", 0.0)
    with Postgres() as cluster:
        where = DatabaseConfig(url=cluster.new())
        server = make_server(broker.port, database=where, ingest=IngestConfig(shared=True), keep=MUCH)
        with Helper(server.config, "demo", 2) as helper, Sender(broker.port, "one", pause_s=0.01) as sender:
            eventually("it takes", lambda: helper.counters.get("windows_taken") > 0)
            caplog.clear()
            cluster.stop()
            eventually("it is stuck", lambda: helper.counters.get("database_faults") > 1)
            cluster.start()
            taken = helper.counters.get("windows_taken")
            eventually("it goes on", lambda: helper.counters.get("windows_taken") > taken)
            (shown,) = every_process(server.database, server.beat.heard)
            assert (shown["name"], shown["kind"], shown["silent"]) == ("hub-2", "ingest", False)
            with pytest.raises(ServerError, match="another ingest process has number 2"):
                Helper(server.config, "demo", 2)
            sender.stop()
            eventually("told", lambda: helper.database.outage.since_s == 0)
            first, *more, last = lines(caplog)
            assert first.startswith("the database refuses (") and last.startswith("the database works again")
            assert more == ["the lock on the database was lost with its connection, and is taken again"]
        assert every_process(server.database, server.beat.heard) == [], "it took its leave"
        server.database.close()


def test_a_replica_outlives_its_database_and_says_so(make_server: MakeServer, caplog: pytest.LogCaptureFixture) -> None:
    with Postgres() as cluster:
        server = make_server(1, database=DatabaseConfig(url=cluster.new()))
        with Replica(server.config) as replica, WebServer(replica.web) as web:

            def get(path: str) -> httpx.Response:
                return httpx.get(f"{web.url}{path}", trust_env=False)

            assert get("/readyz").json() == {"ready": True, "waiting_for": [], "without": ["broker"]}
            caplog.clear()
            cluster.stop()
            eventually("noticed", lambda: not replica.main.seen.database)
            ready, asked = get("/readyz"), get("/api/v1/devices")
            assert (ready.status_code, ready.json()["waiting_for"]) == (503, ["database"])
            assert asked.status_code == 503 and int(asked.headers["retry-after"]) > 0
            assert "the database is away" in get("/healthz").json()["server"]["why"], (
                "it needs no database without a token"
            )
            cluster.start()
            eventually("it is back", lambda: get("/readyz").status_code == 200)
            eventually("it is over", lambda: replica.database.outage.since_s == 0)
            said = lines(caplog)
            assert said[0].startswith("the database refuses (") and sum("works again" in line for line in said) == 1
            assert not [row for row in caplog.records if row.exc_info], "no trace"
        server.database.close()


def test_a_number_that_another_process_took_meanwhile_is_not_shared(postgres: Postgres) -> None:
    url = postgres.new()
    server = Database(url)
    one, two = (Database(url, helper="ingest") for _ in range(2))
    one.hold_number(7)
    with server.engine.connect() as connection:  # as a restart would, of this connection alone
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
            "WHERE l.locktype = 'advisory' AND d.datname = current_database() "
            f"AND (l.classid::bigint << 32) + l.objid::bigint = {0xED6E0100 + 7}"
        )

    def taken() -> bool:
        try:
            two.hold_number(7)
        except ServerError:
            return False
        return True

    eventually("it is free", taken)
    for _ in range(2):
        with pytest.raises(OperationalError, match="another ingest process has number 7"), one.append():
            raise AssertionError("nothing may be stored")
    two.close()
    with one.append() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    with pytest.raises(ServerError, match="another ingest process"):
        Database(url, helper="ingest").hold_number(7)
    for each in (one, server):
        each.close()


def test_a_database_that_only_reads_costs_no_message(
    broker: BrokerProcess, make_server: MakeServer, postgres: Postgres
) -> None:
    """After a failover the old primary may be a standby: it answers, and refuses every write in words of its own."""
    where = DatabaseConfig(url=postgres.new())
    with (
        make_server(broker.port, database=where, keep=MUCH) as server,
        Sender(broker.port, "one", pause_s=0.01) as sender,
    ):
        eventually("it takes", lambda: server.counters.get("windows_taken") > 0)
        name = make_url(where.url).database
        with server.database.engine.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            connection.commit()
        server.database.engine.dispose()
        eventually("it is stuck", lambda: server.router.stuck_s > 0)
        with ScriptedDevice(broker.port, "two", "eu-west"):
            for _ in range(10):
                sender.send()
            sender.stop()
            with server.database.engine.connect() as connection:
                connection.exec_driver_sql("SET default_transaction_read_only = off")
                connection.commit()
                connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
                connection.commit()
            server.database.engine.dispose()

            def kept() -> int:
                with server.database.read() as connection:
                    return telemetry.count(connection)

            eventually("all is there", lambda: kept() == 5 * sender.sent)
            eventually("so is what devices say", lambda: len(server.views.devices()) == 2)
        assert server.counters.get("telemetry_faults") == server.counters.get("state_faults") == 0


def test_parts_that_are_refused_in_turn_are_one_outage(caplog: pytest.LogCaptureFixture) -> None:
    outage = Outage()
    error = OperationalError("SELECT 1", None, Exception("gone\naway"))
    outage.works("a")
    for part in ("a", "b", "a"):
        outage.refused(part, error)
    outage.met("requests", error)
    outage.works("a")
    outage.works("c")
    outage.refused("a", error)
    outage.works("b")
    assert len(lines(caplog)) == 1, "it is not over while one is refused"
    outage.works("a")
    assert "a 3, b 1, requests 1" in lines(caplog)[1] and outage.since_s == 0
    outage.met("requests", error)
    outage.works("a")
    assert lines(caplog)[2].startswith("the database refuses (") and outage.outages == 2
