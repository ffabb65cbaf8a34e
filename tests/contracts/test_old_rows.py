"""Alerts that are over and deeds of long ago are removed, and nothing else. On both databases."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from edgefleet_server.alerts.judge import Alert, Change
from edgefleet_server.store import alerts, audit, pruning
from edgefleet_server.store.database import Database
from edgefleet_server.store.schema import alerts as alerts_table
from tests.fakes.postgres import Postgres


@pytest.fixture(params=("sqlite", "postgresql"))
def database(request: pytest.FixtureRequest, tmp_path: Path, postgres: Postgres) -> Iterator[Database]:
    database = Database(tmp_path / "server.sqlite3" if request.param == "sqlite" else postgres.new())
    yield database
    database.close()


def prune(database: Database, *, alerts_before_s: float, audit_before_s: float) -> pruning.Pruned:
    return pruning.prune(
        database,
        windows_before_s=time.time(),
        events_before_s=0.0,
        alerts_before_s=alerts_before_s,
        audit_before_s=audit_before_s,
    )


def put_alert(database: Database, cause: str, **fields: object) -> int:
    values = {"status": "resolved", "opened_s": 1.0, **fields}
    row = Alert("r", "eu", cause, "warning", text="t", evidence="e", next_step="n", subjects=(), since_s=1.0, **values)  # type: ignore[arg-type]
    with database.write() as connection:
        number = alerts.apply(connection, Change("open", row)).id
        if row.acknowledged_s:
            alerts.acknowledge(connection, number, "ana", row.acknowledged_s)
    return number


def test_an_alert_goes_its_time_after_it_was_resolved_and_one_that_is_open_never(database: Database) -> None:
    put_alert(database, "over", resolved_s=50.0)
    stay = [
        put_alert(database, "open", status="open"),
        put_alert(database, "acknowledged", status="open", acknowledged_s=2.0),
        put_alert(database, "pending", status="pending", opened_s=None),
        put_alert(database, "over lately", resolved_s=100.0),
        put_alert(database, "the newest", resolved_s=50.0),
    ]
    gone = prune(database, alerts_before_s=100.0, audit_before_s=0.0)
    with database.read() as connection:
        assert list(connection.execute(select(alerts_table.c.id).order_by(alerts_table.c.id)).scalars()) == stay
    assert (gone.alerts, gone.audit) == (1, 0)
    assert put_alert(database, "another", status="open") == stay[-1] + 1, "no number names two alerts"


def test_deeds_go_when_they_are_old_however_many_they_are(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "BATCH", 3)

    def deeds() -> list[float]:
        with database.read() as connection:
            return [row.at_s for row in reversed(audit.latest(connection))]

    with database.write() as connection:
        audit.add_all(
            connection, [audit.AuditRow(float(n), "ana", "rollout.start", "eu", "m/1", "done") for n in range(11)]
        )
    assert prune(database, alerts_before_s=0.0, audit_before_s=float("-inf")).audit == 0
    assert prune(database, alerts_before_s=0.0, audit_before_s=7.0).audit == 7
    assert deeds() == [7.0, 8.0, 9.0, 10.0]
    assert prune(database, alerts_before_s=0.0, audit_before_s=99.0).audit == 3
    assert deeds() == [10.0], "the newest keeps its number"
