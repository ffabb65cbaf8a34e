"""Taking telemetry while the database, the process or both go away: what was acknowledged is there, and each window once."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event

from edgefleet_server.app import Server
from edgefleet_server.config import IngestConfig, KeepConfig, load
from edgefleet_server.errors import BadConfig, ServerError
from edgefleet_server.ingest.helper import Helper
from edgefleet_server.regions import gone as gone_module
from edgefleet_server.store import database as database_module
from edgefleet_server.store import telemetry
from edgefleet_server.store.database import Connection, Database
from edgefleet_server.store.place import DatabaseConfig
from tests.fakes.broker_process import BrokerProcess
from tests.fakes.postgres import Postgres
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import ScriptedDevice, eventually
from tests.fakes.sender import Sender

from .conftest import MakeServer

MUCH = KeepConfig(windows_per_device_per_hour=10**6)


def kept(database: Database, device: str | None = None) -> int:
    with database.read() as connection:
        if device is not None:
            return telemetry.count_of(connection, device, 0.0, 1e12)
        return telemetry.count(connection)


@contextmanager
def locked(server: Server) -> Iterator[None]:
    other = sqlite3.connect(server.config.data / "server.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def full(server: Server) -> Iterator[None]:
    limit = "1"

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit}")  # not below what there is: not one page more

    event.listen(server.database.engine, "begin", begun)
    yield
    limit = "1000000"
    # Left listening: each connection must be told that there is room again.


@contextmanager
def locked_in_postgresql(server: Server) -> Iterator[None]:
    engine = database_module.make_engine(server.config.place)
    with engine.begin() as other:
        other.exec_driver_sql("LOCK TABLE windows IN SHARE ROW EXCLUSIVE MODE")  # as somebody does who builds an index
        yield
    engine.dispose()


FAULTS = {"locked": locked, "full": full, "locked in PostgreSQL": locked_in_postgresql}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_database_that_refuses_costs_nothing_and_is_told(
    broker: BrokerProcess, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch, postgres: Postgres, fault: str
) -> None:
    monkeypatch.setattr(database_module, "BUSY_MS", 100)
    where = DatabaseConfig(url=postgres.new() if "PostgreSQL" in fault else "")
    with (
        make_server(broker.port, keep=MUCH, database=where) as server,
        Sender(broker.port, "one", windows=40, pause_s=0.01) as sender,
    ):
        eventually("some is there", lambda: kept(server.database) > 80)
        with FAULTS[fault](server):
            eventually("it is stuck", lambda: server.router.stuck_s > 0)
            assert "ingest" in server.watching.readiness()
            families = {family.name: family for family in server.watching.collector.collect()}
            assert families["edgefleet_ingest_stuck_seconds"].samples[0].value > 0
            before, taken = kept(server.database), server.counters.get("windows_taken")
            for _ in range(20):
                sender.send()
            assert (kept(server.database), server.counters.get("windows_taken")) == (before, taken)
        sender.stop()
        eventually("all is there", lambda: kept(server.database) == 40 * sender.sent)
        assert server.counters.get("windows_taken") == 40 * sender.sent, "and each was counted once"
        assert server.router.stuck_s == 0 and "ingest" not in server.watching.readiness()
        assert server.counters.get("database_faults") > 0


def test_a_server_on_postgresql_does_its_work_and_outlives_its_database(
    broker: BrokerProcess, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        gone_module, "LOOK_EVERY_S", 0.0
    )  # as in an outage that lasts longer than what was read is good for
    with Postgres() as cluster:
        where = DatabaseConfig(url=cluster.new())
        with (
            make_server(broker.port, database=where, keep=MUCH) as server,
            ScriptedDevice(broker.port, "two", "eu-west") as two,
        ):
            with Sender(broker.port, "one", pause_s=0.01) as sender:
                eventually("both are known", lambda: {row["id"] for row in server.views.devices()} == {"one", "two"})
                two.event("activated", "hello")
                eventually("the event", lambda: len(server.views.events()) == 1)
                cluster.stop()
                eventually("it is stuck", lambda: server.router.stuck_s > 0)
                assert {"database", "ingest"} <= set(server.watching.readiness())
                told = {family.name: family for family in server.watching.collector.collect()}
                assert told["edgefleet_ingest_stuck_seconds"].samples[0].value > 0
                assert told["edgefleet_database_answers"].samples[0].value == 0
                assert "edgefleet_devices" not in told
                for _ in range(10):
                    sender.send()
                cluster.start()
                two.event("activated", "again")
                sender.stop()
                eventually("all is there", lambda: kept(server.database) == 5 * sender.sent)
                eventually("the other event", lambda: len(server.views.events()) == 2)
                eventually("it can work", lambda: server.watching.readiness() == ())
            assert server.watching.collector.collect()
            eventually("it leads", lambda: server.controller.turned_s is not None)
            cluster.stop()  # and it ends in good order all the same


def write_config(folder: Path, repo: FakeRepository, port: int, database: str) -> Path:
    lines = [
        f"repository = '{repo.folder}'", f"keys = '{repo.keys_folder}'", "data = 'data'",
        "[broker]", f"port = {port}", "open = true", "[http]", "port = 0", "open = true",
        "[ingest]", "shared = true", "[database]", f"url = '{database}'",
        "[keep]", "windows_per_device_per_hour = 1000000",
    ]  # fmt: skip
    path = folder / "server.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


class Process:
    """`edgefleet server …` as a process that can be killed."""

    def __init__(self, verb: str, config: Path, repo: FakeRepository) -> None:
        program = "import sys; from edgefleet_server.commands import server; sys.exit(server(sys.argv[1:]))"
        self._command = [sys.executable, "-c", program, verb, "--config", str(config)]
        self._environment = {**os.environ, "EDGEFLEET_ONLINE_PASSPHRASE_FILE": str(repo.passphrase_file)}
        self._log = config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        self._process.send_signal(how)
        return self._process.wait(40)

    @property
    def words(self) -> str:
        return self._log.read_text()


@pytest.mark.parametrize("verb", ["run", "ingest"])
def test_a_process_killed_under_load_loses_nothing_that_it_acknowledged(
    broker: BrokerProcess, repo: FakeRepository, tmp_path: Path, postgres: Postgres, verb: str
) -> None:
    url = postgres.new() if verb == "ingest" else ""
    config = write_config(tmp_path, repo, broker.port, url)
    process = Process(verb, config, repo)
    with ExitStack() as stack:
        if verb == "ingest":  # the tables are the server's to make; it takes no telemetry here
            stack.callback(Database(load(config).place).close)
        process.start()
        watched = database_module.make_engine(load(config).place)
        stack.callback(watched.dispose)

        def count(which: str = "<>") -> int:
            try:
                with watched.connect() as connection:
                    found = connection.exec_driver_sql(f"SELECT count(*) FROM windows WHERE device {which} 'first'")
                    return int(found.scalar_one())
            except database_module.DatabaseError:
                return 0  # before its tables are there

        with Sender(broker.port, "first", pause_s=0.5):  # what is said before anybody has asked for it goes nowhere
            eventually("it takes", lambda: count("=") > 0)
        senders = [stack.enter_context(Sender(broker.port, f"d{n}")) for n in range(4)]
        for _ in range(2):
            seen = count()
            eventually("it is in the middle of it", lambda seen=seen: count() > seen + 100)
            process.kill()
            process.start()
        for sender in senders:
            sender.stop()
        sent = sum(5 * sender.sent for sender in senders)
        eventually("all is there, each once", lambda: count() == sent)
        assert process.kill(signal.SIGTERM) == 0, process.words


def test_a_process_that_ends_leaves_its_share_to_the_others(
    broker: BrokerProcess, make_server: MakeServer, postgres: Postgres
) -> None:
    where = DatabaseConfig(url=postgres.new())
    shared = IngestConfig(shared=True)
    with make_server(broker.port, database=where, ingest=shared, keep=MUCH) as server:
        with Sender(broker.port, "first", pause_s=0.2):  # what is said before anybody has asked for it goes nowhere
            eventually("it takes", lambda: server.counters.get("windows_taken") > 0)
        with Sender(broker.port, "one") as sender:
            with Helper(server.config, "demo", 2) as helper:
                with pytest.raises(ServerError, match="another ingest process has number 2"):
                    Helper(server.config, "demo", 2)
                eventually(
                    "both take", lambda: all(c.get("windows_taken") > 50 for c in (server.counters, helper.counters))
                )
            here, there = server.counters.get("windows_taken"), helper.counters.get("windows_taken")
            eventually("the server alone takes", lambda: server.counters.get("windows_taken") > here + 200)
            sender.stop()
            eventually("all is there", lambda: kept(server.database, "one") == 5 * sender.sent)
            assert helper.counters.get("windows_taken") == there


def test_a_helper_outlives_its_database(
    broker: BrokerProcess, make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gone_module, "LOOK_EVERY_S", 0.0)
    with Postgres() as cluster:
        where = DatabaseConfig(url=cluster.new())
        server = make_server(broker.port, database=where, ingest=IngestConfig(shared=True), keep=MUCH)
        with Helper(server.config, "demo", 2) as helper, Sender(broker.port, "one", pause_s=0.01) as sender:
            eventually("it takes", lambda: helper.counters.get("windows_taken") > 0)
            cluster.stop()
            eventually("it is stuck", lambda: helper.counters.get("database_faults") > 0)
            for _ in range(10):
                sender.send()
            cluster.start()
            sender.stop()
            eventually("all is there", lambda: kept(server.database) == 5 * sender.sent)
        server.database.close()


def test_a_helper_is_refused_where_there_can_be_one_process_only(
    make_server: MakeServer, postgres: Postgres, tmp_path: Path
) -> None:
    server = make_server(1)
    with pytest.raises(BadConfig, match="shared = true"):
        Helper(server.config, "demo", 2)
    with pytest.raises(BadConfig, match="SQLite has one writer"):
        Helper(replace(server.config, ingest=IngestConfig(shared=True)), "demo", 2)
    server.database.close()
