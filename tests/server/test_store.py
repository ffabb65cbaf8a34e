"""The database: its form, its one writer, and what it keeps once."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Event
from edgefleet_protocol.telemetry import Window
from edgefleet_server.errors import ServerError
from edgefleet_server.store import devices, events, retained, rollouts, telemetry
from edgefleet_server.store.database import Database
from edgefleet_server.store.schema import metadata

from .records import NEW, assignment, record


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "server.sqlite3")


def test_the_migrations_make_the_tables_that_the_code_names(database: Database) -> None:
    with database.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    assert differences == []


def test_opening_again_changes_nothing(database: Database, tmp_path: Path) -> None:
    with database.write() as connection:
        retained.put(connection, {"t": ("d", 1)})
    database.close()
    with Database(tmp_path / "server.sqlite3").read() as connection:
        assert retained.every(connection) == {"t": "d"}


def test_a_second_server_over_the_same_database_is_refused(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="another server runs with"):
        Database(tmp_path / "server.sqlite3")
    database.close()
    Database(tmp_path / "server.sqlite3").close()


def test_a_file_that_is_no_database_is_called_so_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite3"
    path.write_bytes(b"my notes, and no database" * 100)
    with pytest.raises(ServerError, match="cannot be used: file is not a database"):
        Database(path)
    assert path.read_bytes() == b"my notes, and no database" * 100


def test_events_and_windows_are_kept_once(database: Database) -> None:
    event = Event(device="one", boot="b", number=1, at_s=1.0, kind="proven", text="t")
    window = Window(start_s=1.0, seconds=10.0, boot="b", started_monotonic_s=5.0)
    with database.write() as connection:
        assert events.add(connection, event, 1.0)
        assert not events.add(connection, event, 2.0)
        assert telemetry.add(connection, "one", window, 1.0, 1.0)
        assert not telemetry.add(connection, "one", window, 1.0, 2.0)
        assert (events.count(connection), telemetry.count(connection)) == (1, 1)


def test_a_devices_state_is_kept_as_the_bytes_that_came(database: Database) -> None:
    state = DeviceState(device="one", session=1, boot="b", at_s=1.0, agent_version="9.9.9", region="eu-west")
    data = encode(state)[:-1] + b',"of_a_later_agent":[1,2]}'
    with database.write() as connection:
        devices.put_state(connection, state, data, 5.0, live=True)
    with database.read() as connection:
        found = devices.find(connection, "one")
    assert found is not None
    assert (found.state_bytes, found.region, found.online, found.last_seen_s) == (data, "eu-west", True, 5.0)


def test_a_rollout_survives_as_it_was_written(database: Database) -> None:
    facts = record(previous=assignment("a" * 64, 1))
    with database.write() as connection:
        number = rollouts.add(
            connection,
            region=facts.region,
            assignment=facts.assignment,
            release=facts.release,
            policy=facts.policy,
            previous=facts.previous,
            previous_policy=None,
            why="somebody",
            now=1000.0,
        )
        (found,) = rollouts.current(connection, "eu-west")
        assert (found.assignment.release.sha256, found.previous) == (NEW, facts.previous)
        rollouts.move(connection, found, kind="open", status="running", stage=1, why="2 of 2 proven", now=1100.0)
        (moved,) = rollouts.current(connection)
        assert (moved.stage, moved.stage_opened_s, moved.why) == (1, 1100.0, "2 of 2 proven")
        assert [row.kind for row in rollouts.history(connection, number)] == ["start", "open"]
