"""What of roll-ups cannot be read keeps nothing else from being folded: on SQLite and on a real PostgreSQL."""

import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from edgefleet_server.ingest.counters import Counters
from edgefleet_server.operate.check import unreadable_rollups
from edgefleet_server.rolling import Roller
from edgefleet_server.store import rollups, rollups_aside
from edgefleet_server.store.database import Database
from edgefleet_server.store.schema import device_rollups, model_rollups, rollup_parts
from edgefleet_server.telemetry.cells import row_of, rows_packed
from edgefleet_server.telemetry.stored import models_stored
from tests.fakes.postgres import Postgres
from tests.fakes.scripted_device import eventually
from tests.server.test_rollups import NOON_S, add, tables, window


@pytest.fixture(params=("sqlite", "postgresql"))
def database(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Iterator[Database]:
    database = Database(tmp_path / "server.sqlite3" if request.param == "sqlite" else postgres.new())
    yield database
    database.close()


def roller(database: Database) -> tuple[Roller, Counters, list[rollups.Folded]]:
    counters, told = Counters(), []
    return Roller(database, counters, told.append), counters, told


def packed(placed_s: float = NOON_S, facts: bytes = b"\x90", models: bytes = b"\x90") -> bytes:
    return rows_packed([row_of("d", "", "", placed_s, 60.0, facts, models)])


UNREADABLE = {
    "not msgpack": b"\x02\xc1 what is this",
    "not even of a form": b"\xc1 what is this",
    "cut short": packed()[:-3],
    "of another shape": b"\x93\x01\x02\x03",
    "at no time": packed(float("nan")),
    "beyond all time": packed(1e300),
    "a histogram that is none": packed(
        models=models_stored([window(random.Random(1), 1).window.models[0]]).replace(b"\x01", b"\x07")
    ),
}


def wait(database: Database, parts: bytes) -> None:
    with database.write() as connection:
        connection.execute(insert(rollup_parts).values(received_s=NOON_S, parts=parts))


def test_batches_that_cannot_be_read_are_put_aside_and_the_others_folded(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(3)
    rows = [window(rng, number) for number in range(80)]
    with database.write() as connection:
        add(connection, rows)
    wanted, *_ = roller(database)
    wanted.turn()
    undisturbed = tables(database)
    with database.write() as connection:
        for table in (model_rollups, device_rollups):
            connection.execute(table.delete())
    for at, parts in enumerate(UNREADABLE.values()):
        with database.write() as connection:
            add(connection, rows[at * 10 : at * 10 + 10])
        wait(database, parts)
    with database.write() as connection:
        add(connection, rows[70:])

    one, counters, told = roller(database)
    with caplog.at_level(logging.ERROR):
        one.turn()
    assert tables(database) == undisturbed
    assert sum(folded.batches for folded in told) == counters.get("rollup_batches") == 8
    assert counters.get("rollup_batches_aside") == len(UNREADABLE)
    assert len(caplog.records) == 1 and "put aside" in caplog.text
    with database.read() as connection:
        assert rollups.behind_s(connection, NOON_S) == 0.0
        assert rollups_aside.count(connection) == len(UNREADABLE)
    said = list(unreadable_rollups(database.place))
    assert [row.state for row in said] == ["warning"] and f"{len(UNREADABLE)} batches" in said[0].text

    # A later version may understand them: at its start they are tried again, and nothing is lost or counted twice.
    again, counters, _ = roller(database)
    again.retry()
    again.turn()
    assert counters.get("rollup_batches_aside") == len(UNREADABLE)
    assert tables(database) == undisturbed


def test_a_row_of_rollups_that_cannot_be_read_is_put_aside_and_begun_anew(database: Database) -> None:
    rng = random.Random(4)
    rows = [window(rng, number) for number in range(20)]
    with database.write() as connection:
        add(connection, rows)
    one, counters, _ = roller(database)
    one.turn()
    undisturbed = tables(database)
    day = (model_rollups.c.resolution == rollups.DAY, model_rollups.c.grain == rollups.FLEET)
    with database.write() as connection:
        broken = len(connection.execute(select(model_rollups).where(*day)).all())
        connection.execute(update(model_rollups).where(*day).values(latency=b"?"))
        connection.execute(update(device_rollups).where(device_rollups.c.grain == rollups.FLEET).values(facts=b"\xc1"))
        add(connection, rows)
    one.turn()
    assert counters.get("rollup_batches") == 2 and counters.get("rollup_batches_aside") == 0
    assert counters.get("rollup_rows_aside") > broken
    with database.read() as connection:
        fresh = connection.execute(select(model_rollups.c.windows).where(*day)).scalars().all()
        assert sum(fresh) == len(rows)
        assert rollups_aside.count(connection) == counters.get("rollup_rows_aside")
    assert tables(database) != undisturbed


def test_a_fault_of_the_database_puts_nothing_aside(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.write() as connection:
        add(connection, [window(random.Random(5), 1)])
        connection.exec_driver_sql("ALTER TABLE model_rollups RENAME TO elsewhere")
    one, counters, _ = roller(database)
    with pytest.raises(Exception, match="model_rollups"):
        one.turn()
    with database.write() as connection:
        assert rollups_aside.count(connection) == 0
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO model_rollups")
    one.turn()
    assert counters.get("rollup_batches") == 1


def test_what_cannot_be_brought_back_keeps_nothing_new_from_being_folded(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wait(database, UNREADABLE["not msgpack"])
    roller(database)[0].turn()

    def never(connection: object) -> int:
        raise ValueError("not in this version")

    monkeypatch.setattr(rollups_aside, "bring_back", never)
    with database.write() as connection:
        add(connection, [window(random.Random(6), 1)])
    one, counters, told = roller(database)
    one.start()
    eventually("it is folded", lambda: bool(told))
    one.stop()
    assert counters.get("rollup_batches") == 1
    assert "not in this version" in counters.reasons()["rollup_faults"]
    assert caplog.text.count("stays there until the next start") == 1
    with database.read() as connection:
        assert rollups_aside.count(connection) == 1
