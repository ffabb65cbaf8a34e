"""Roll-ups, their pruning, what is exported of them, and drift: the same on SQLite and on a real PostgreSQL."""

import random
from pathlib import Path
from typing import Any

from edgefleet_server.keeping import Bounds
from edgefleet_server.store import device_series, export_rows, rollup_reads, rollups, windows
from edgefleet_server.store.database import Database
from edgefleet_server.store.drifting import Drifting
from edgefleet_server.store.rollup_pruning import prune_rollups, prune_windows
from edgefleet_server.store.windows import Placed
from tests.fakes.postgres import Postgres
from tests.server.test_rollups import NOON_S, add, fold_all, tables, window

DAY_S = 86400


def everything(database: Database) -> list[Any]:
    """Fill a database, and return all that can be read of it, before and after pruning."""
    rng = random.Random(7)
    rows = [window(rng, number) for number in range(120)]
    for start in range(0, len(rows), 7):
        batch = rows[start : start + 7]
        with database.append() as connection:
            new = windows.add(connection, [Placed(row.device, row.window, row.placed_s) for row in batch], 1.0)
            again = windows.add(connection, [Placed(row.device, row.window, row.placed_s) for row in batch], 1.0)
            assert (len(new), again) == (len(batch), [])
        with database.write() as connection:
            add(connection, batch)
        fold_all(database, 3)
    found: list[Any] = [tables(database)]
    asked = export_rows.Asked(NOON_S - 3 * DAY_S, NOON_S + 3 * DAY_S, None, ("us",), rollups.HOUR, False)
    with database.read() as connection:
        for what, rows_of in sorted(export_rows.OF.items()):
            found.append((what, sorted(str(rounded(row)) for some in rows_of(connection, asked) for row in some)))
        found.append(len(device_series.spans(connection, rows[0].device, since_s=0.0).models))
        found.append(len(rollup_reads.recent(connection, NOON_S)))
        found.append(rollups.behind_s(connection, NOON_S))
        drifts = Drifting().look(connection, NOON_S + DAY_S, ["eu", "us"])
        found.append({key: (one.drift.n, one.reference_s) for key, one in drifts.items()})
    bounds = Bounds({"eu": NOON_S}, NOON_S - 3600.0)
    before = tables(database)
    assert prune_rollups(database, rollups.MINUTE, bounds, go_on=lambda: False) == 0
    assert tables(database) == before, "who is to end removes nothing more"
    found.append([prune_rollups(database, resolution, bounds) for resolution in rollups.RESOLUTIONS])
    found.append(prune_windows(database, bounds, NOON_S - 7200.0))
    found.append(tables(database))
    return found


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}


def test_both_databases_hold_show_export_and_forget_the_same(tmp_path: Path, postgres: Postgres) -> None:
    results = []
    for place in (tmp_path / "server.sqlite3", postgres.new()):
        database = Database(place)
        results.append(everything(database))
        database.close()
    for one, other in zip(*results, strict=True):
        assert one == other
