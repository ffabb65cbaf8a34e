"""Windows that are not kept any more are kept by quarters of an hour: each once, whatever its order. On both databases."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from edgefleet_protocol.sketch import merge
from edgefleet_protocol.telemetry import DeviceWindow
from edgefleet_server.keeping import Bounds
from edgefleet_server.store import device_series, pruning, rollups_aside, telemetry, windows
from edgefleet_server.store.database import Database
from edgefleet_server.store.rollup_pruning import prune_windows
from edgefleet_server.store.schema import device_quarters
from edgefleet_server.store.schema import windows as windows_table
from edgefleet_server.store.windows import Placed
from edgefleet_server.telemetry.packed import unpack
from edgefleet_server.telemetry.quarters import QUARTER_S, Stretch, merged
from tests.fakes.postgres import Postgres
from tests.server.test_rollups import NOON_S, add, window

DAY_S = 86400


@pytest.fixture(params=("sqlite", "postgresql"))
def database(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Iterator[Database]:
    database = Database(tmp_path / "server.sqlite3" if request.param == "sqlite" else postgres.new())
    yield database
    database.close()


def put(database: Database, rows: list[Placed]) -> None:
    with database.append() as connection:
        windows.add(connection, rows, 1.0)


def stored(database: Database) -> list[tuple[object, ...]]:
    with database.read() as connection:
        order = (device_quarters.c.device, device_quarters.c.start_s)
        return [tuple(row) for row in connection.execute(select(device_quarters).order_by(*order))]


def test_what_goes_is_in_its_quarter_and_nothing_is_lost_or_counted_twice(database: Database) -> None:
    rng = random.Random(11)
    rows = [window(rng, number) for number in range(150)]
    late = rows[::5]
    put(database, [row for row in rows if row not in late])
    ends_s = NOON_S + 2 * DAY_S
    gone = pruning.prune(database, windows_before_s=NOON_S, events_before_s=0.0).windows
    with database.read() as connection:
        assert telemetry.count(connection) == 150 - len(late) - gone
    put(database, late)
    again = pruning.prune(database, windows_before_s=ends_s, events_before_s=0.0).windows
    assert pruning.prune(database, windows_before_s=ends_s, events_before_s=0.0).windows == 0
    with database.read() as connection:
        assert gone + again == 150 and telemetry.count(connection) == 0
        for device in {row.device for row in rows}:
            own = [row for row in rows if row.device == device]
            spans = device_series.spans(connection, device, since_s=0.0)
            assert [one.placed_s for one in spans.facts] == sorted(
                {row.placed_s // QUARTER_S * QUARTER_S for row in own}
            )
            assert sum(one.seconds for one in spans.facts) == 60.0 * len(own)
            models = [model for row in own for model in row.window.models]
            assert sum(ran.counts.requests for ran in spans.models) == sum(model.requests for model in models)
            assert merge(unpack(ran.counts.latency) for ran in spans.models) == merge(model.latency for model in models)
            hottest = max(row.window.device.temperature_c or -1e9 for row in own)
            assert max(one.facts.temperature_c or -1e9 for one in spans.facts) == hottest
    assert sum(row[3] for row in stored(database)) == 150  # type: ignore[misc]
    with database.append() as connection:
        windows.forget(connection, rows[0].device)
    assert rows[0].device not in {row[0] for row in stored(database)}
    pruning.prune(database, windows_before_s=ends_s, events_before_s=0.0, quarters_before_s=ends_s)
    assert stored(database) == []


def sixty(database: Database, seed: int) -> list[Placed]:
    """Return sixty random windows, stored, and with their quarters."""
    rng = random.Random(seed)
    rows = [window(rng, number) for number in range(60)]
    put(database, rows)
    with database.write() as connection:
        add(connection, rows)
    return rows


def test_what_a_region_keeps_for_its_own_time_leaves_no_quarters(database: Database) -> None:
    sixty(database, 12)
    ends_s = NOON_S + 2 * DAY_S
    assert prune_windows(database, Bounds({"eu": ends_s}, ends_s), 0.0) == 60
    assert {str(row[0])[:2] for row in stored(database)} == {"us"}


def test_nothing_of_a_region_is_kept_for_longer_than_its_own_time_though_that_be_the_longest(
    database: Database,
) -> None:
    sixty(database, 13)
    ends_s = NOON_S + 2 * DAY_S
    pruning.prune(database, windows_before_s=ends_s, events_before_s=0.0)
    assert {str(row[0])[:2] for row in stored(database)} == {"eu", "us"}
    prune_windows(database, Bounds({"eu": ends_s}, ends_s), ends_s)
    assert {str(row[0])[:2] for row in stored(database)} == {"us"}


def test_while_one_region_keeps_its_windows_for_longer_those_of_the_others_are_merged_in_their_time(
    database: Database,
) -> None:
    rows = sixty(database, 15)
    ends_s = NOON_S + 2 * DAY_S
    bounds = Bounds({"eu": NOON_S - 30 * DAY_S}, ends_s)
    others = sum(row.device.startswith("us") for row in rows)
    assert prune_windows(database, bounds, NOON_S - 30 * DAY_S, go_on=lambda: False) == 0
    assert prune_windows(database, bounds, NOON_S - 30 * DAY_S) == others > 0
    assert {str(row[0])[:2] for row in stored(database)} == {"us"}
    with database.read() as connection:
        left = connection.execute(select(windows_table.c.device)).scalars().all()
    assert len(left) == len(rows) - others and {name[:2] for name in left} == {"eu"}


def test_who_ends_meanwhile_leaves_what_is_not_merged_yet(database: Database) -> None:
    rng = random.Random(14)
    put(database, [window(rng, number) for number in range(20)])
    ends_s = NOON_S + 2 * DAY_S
    assert pruning.prune(database, windows_before_s=ends_s, events_before_s=0.0, go_on=lambda: False).windows == 0
    with database.read() as connection:
        assert telemetry.count(connection) == 20
    assert pruning.prune(database, windows_before_s=ends_s, events_before_s=0.0).windows == 20


def test_a_quarter_says_of_a_board_what_its_page_shows() -> None:
    def one(at_s: float, seconds: float, **facts: object) -> Stretch:
        return Stretch(at_s, seconds, 1, DeviceWindow(**facts), [])  # type: ignore[arg-type]

    rows = [
        one(
            900.0, 60.0, temperature_c=50.0, cpu_percent=10.0, battery_percent=80.0, throttled=("capped",), energy_j=5.0
        ),
        one(960.0, 180.0, temperature_c=70.0, cpu_percent=50.0, memory_available_bytes=5, throttled=()),
        one(1200.0, 60.0, temperature_c=60.0, battery_percent=78.0, memory_available_bytes=9, energy_j=7.0),
    ]
    whole = merged(900, rows)
    assert (whole.placed_s, whole.seconds, whole.windows) == (900.0, 300.0, 3)
    facts = whole.facts
    assert (facts.temperature_c, facts.cpu_percent, facts.battery_percent) == (70.0, 40.0, 78.0)
    assert (facts.memory_available_bytes, facts.throttled, facts.energy_j) == (5, ("capped",), 12.0)
    assert facts.power_w is None and facts.storage_free_bytes is None


def test_a_window_that_cannot_be_read_holds_nothing_up(database: Database) -> None:
    rng = random.Random(5)
    rows = [window(rng, number) for number in range(20)]
    put(database, rows)
    hurt = rows[3].device
    with database.write() as connection:
        connection.execute(update(windows_table).where(windows_table.c.device == hurt).values(models=b"\xc1"))
    assert pruning.prune(database, windows_before_s=NOON_S + 2 * DAY_S, events_before_s=0.0).windows == 20
    with database.read() as connection:
        assert telemetry.count(connection) == 0
        assert rollups_aside.count(connection) == sum(row.device == hurt for row in rows)
    assert stored(database) and all(row[0] != hurt for row in stored(database))
