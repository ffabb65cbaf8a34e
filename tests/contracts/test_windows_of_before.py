"""Windows that a version before wrote are read as they were, on SQLite and on a real PostgreSQL."""

import time
from pathlib import Path

import msgspec
import pytest
from alembic import command

from edgefleet_protocol.sketch import Sketch, SketchBuilder
from edgefleet_protocol.telemetry import DeviceWindow
from edgefleet_server.store import partitions, rollups, telemetry
from edgefleet_server.store.database import Database, make_engine
from edgefleet_server.store.migrate import settings
from edgefleet_server.telemetry.cells import rows_of
from edgefleet_server.telemetry.packed import unpack
from edgefleet_server.telemetry.stored import StoredFacts
from tests.fakes.postgres import Postgres

NOW = time.time()
FACTS = DeviceWindow(temperature_c=51.5, throttled=("capped",), storage_free_bytes=2**40)


def sketch() -> Sketch:
    builder = SketchBuilder()
    for value in (0.01, 0.01, 0.02, 0.5):
        builder.add(value)
    return builder.build()


def fill(place: Path | str) -> None:
    """Make a database of form 0010 with two windows: one with two models, one with none; and a batch that waits to be rolled up."""
    engine = make_engine(place)
    command.upgrade(settings(engine), "0010")
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            name = partitions.name("model_windows", day := partitions.day_of(NOW))
            connection.exec_driver_sql(
                f"CREATE TABLE {name} PARTITION OF model_windows FOR VALUES FROM ({day * 86400}) TO ({day * 86400 + 86400})"
            )
            partitions.make(connection, {day})
        mark = "%s" if connection.dialect.name == "postgresql" else "?"
        for n in (1.0, 2.0):
            row = ("one", "b", n, NOW, 60.0, NOW, msgspec.json.encode(FACTS))
            connection.exec_driver_sql(
                "INSERT INTO windows (device, boot, started_monotonic_s, placed_s, seconds, received_s, facts) "
                f"VALUES ({', '.join([mark] * 7)})",
                row,
            )
        for model in ("a", "b"):
            values = ("one", "b", 1.0, model, NOW, f"{model}/1", "int8", 4, 1, msgspec.json.encode(sketch()), None)
            connection.exec_driver_sql(
                "INSERT INTO model_windows (device, boot, started_monotonic_s, model, placed_s, release, variant, requests, errors, "
                f"latency, memory_bytes) VALUES ({', '.join([mark] * 11)})",
                values,
            )
        latency = (sketch().offset, sketch().counts, sketch().zero)
        board = ((51.5, None, None, 3.0, None, None, None), ("capped",), "pmic")
        waits = [("one", "eu", "pi-4", NOW, 60.0, board, [("a", "a/1", "int8", 4, 1, None, latency, None)])]
        connection.exec_driver_sql(
            f"INSERT INTO rollup_parts (received_s, parts) VALUES ({mark}, {mark})",
            (NOW, msgspec.msgpack.encode(waits)),
        )
    engine.dispose()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_windows_and_what_waits_of_the_form_before_are_read_as_they_were(
    tmp_path: Path, postgres: Postgres, kind: str
) -> None:
    place = tmp_path / "server.sqlite3" if kind == "sqlite" else postgres.new()
    fill(place)
    database = Database(place)
    with database.read() as connection:
        assert telemetry.count(connection) == 2
        found = telemetry.models(connection, "one", since_s=0.0)
        assert [(row.model, row.release, row.requests, row.errors) for row in found] == [
            ("a", "a/1", 4, 1), ("b", "b/1", 4, 1),
        ]  # fmt: skip
        assert {row.latency for row in found} == {sketch()}
        latest = telemetry.latest_device(connection, "one")
        assert latest is not None and latest.facts == FACTS
        assert set(telemetry.latest_models(connection, ["one"])) == {("one", "a"), ("one", "b")}
        parts = connection.exec_driver_sql("SELECT parts FROM rollup_parts").scalar_one()
    (row,) = rows_of(bytes(parts))
    assert (row.device, row.region, row.board) == (
        "one", "eu", StoredFacts(temperature_c=51.5, power_w=3.0, throttled=("capped",), power_source="pmic"),
    )  # fmt: skip
    assert unpack(row.models[0].latency) == sketch()
    with database.write() as connection:
        assert rollups.fold(connection).batches == 1
    database.close()


def test_what_a_board_was_like_is_stored_by_place_so_new_fields_come_last() -> None:
    assert DeviceWindow.__struct_fields__[:17] == (
        "cpu_percent", "memory_available_bytes", "storage_free_bytes", "temperature_c", "throttled", "power_w", "battery_percent",
        "battery_charging", "agent_memory_bytes", "throttled_s", "power_source", "energy_j", "energy_s", "idle_w",
        "storage_written_bytes", "storage_wear_percent", "network",
    )  # fmt: skip
