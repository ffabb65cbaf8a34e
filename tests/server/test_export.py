"""Telemetry as files: every row once, under OpenTelemetry's names, and nothing of a region whose rows must stay."""

import csv
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from edgefleet_protocol.messages import Event
from edgefleet_protocol.sketch import SCALE, Sketch
from edgefleet_server.app import Server
from edgefleet_server.cli.export import moment
from edgefleet_server.commands import server as server_command
from edgefleet_server.errors import BadRequest
from edgefleet_server.store import events
from edgefleet_server.telemetry import names

from .test_telemetry_views import answered, server, true_quantile  # noqa: F401

DAY_S = 86400.0


@pytest.fixture
def config(server: Server, tmp_path: Path) -> Iterator[Path]:  # noqa: F811
    """A configuration over a server with telemetry in two regions, of which one may not leave."""
    for number in range(5):
        for device in ("west-1", "south-1"):
            answered(
                server, device, 7200.0 - 60 * number, [0.01, 0.02, 0.5], temperature_c=50.0, battery_percent=80.0,
                power_w=4.0, throttled=("capped",), cpu_percent=25.0,
            )  # fmt: skip
            event = Event(device=device, boot="b", number=number, at_s=1.0, kind="activated", text="=1+1")
            with server.database.write() as connection:
                events.add(connection, event, time.time() - 60)
    server.roller.turn()
    file = tmp_path / "server.toml"
    file.write_text(
        f"repository = '{server.config.repository}'\nkeys = 'keys'\ndata = '{server.config.data}'\n"
        "[broker]\nopen = true\n[regions.ap-south.keep]\nexport = false\n"
    )
    yield file


def export(config: Path, what: str, out: Path, *more: str) -> int:
    return server_command(["export", "--config", str(config), "--what", what, "--out", str(out), *more])


def rows(out: Path) -> list[dict[str, Any]]:
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def test_windows_come_each_once_with_their_histogram_and_nothing_that_must_stay(config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert export(config, "windows", out, "--json") == 0
    found = rows(out)
    assert len(found) == 5 and {row["device.id"] for row in found} == {"west-1"}
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    for row in found:
        counts = json.loads(row["edgefleet.inference.duration.positive.bucket_counts"])
        sketch = Sketch(offset=int(row["edgefleet.inference.duration.positive.offset"]), counts=tuple(counts))
        assert sketch.count == 3 and row["edgefleet.inference.duration.scale"] == str(SCALE)
        assert float(row["edgefleet.inference.duration.p95"]) == sketch.quantile(0.95)
        assert (row["hw.battery.charge"], row["system.cpu.utilization"]) == ("0.8", "0.25")
        assert row["edgefleet.battery.charging"] == ""


@pytest.mark.parametrize("what", ("windows", "rollups", "boards", "energy", "events"))
def test_parquet_holds_what_csv_holds(config: Path, tmp_path: Path, what: str) -> None:
    assert export(config, what, tmp_path / "out.csv") == 0
    assert export(config, what, tmp_path / "out.parquet", "--format", "parquet") == 0
    table = pq.read_table(tmp_path / "out.parquet")
    plain = rows(tmp_path / "out.csv")
    assert table.num_rows == len(plain) > 0 and table.column_names == list(plain[0])
    for name in table.column_names:
        for ours, theirs in zip(table.column(name).to_pylist(), (row[name] for row in plain), strict=True):
            if ours is None:
                assert theirs == ""
            elif isinstance(ours, str):
                assert theirs.removeprefix("'") == ours
            elif isinstance(ours, bool):
                assert theirs == str(ours).lower()
            else:
                assert json.loads(theirs) == ours
    ours = {names.NAMES[key.decode()] for key in (field.metadata[b"edgefleet"] for field in table.schema)}
    assert {name for name, _ in ours} == set(table.column_names)


def test_rollups_are_those_of_the_windows_and_energy_comes_by_source(config: Path, tmp_path: Path) -> None:
    assert export(config, "rollups", tmp_path / "r.csv") == 0
    found = rows(tmp_path / "r.csv")
    assert sum(int(row["edgefleet.inference.requests"]) for row in found) == 15
    for row in found:
        count = int(row["edgefleet.inference.requests"]) // 3
        true = true_quantile([0.01, 0.02, 0.5] * count, 0.95)
        assert float(row["edgefleet.inference.duration.p95"]) == pytest.approx(true, rel=0.0222)
    assert (
        export(config, "rollups", tmp_path / "c.csv", "--by-class", "--resolution", "day", "--from", "2020-01-01") == 0
    )
    assert all(row["edgefleet.devices.seen"] == "" for row in rows(tmp_path / "c.csv"))
    assert export(config, "energy", tmp_path / "e.csv", "--region", "eu-west") == 0
    assert sum(float(row["hw.host.energy"]) for row in rows(tmp_path / "e.csv")) == 5 * 60 * 4.0
    assert export(config, "events", tmp_path / "events.csv") == 0
    assert {row["body"] for row in rows(tmp_path / "events.csv")} == {"'=1+1"}  # no spreadsheet computes it


def test_what_must_stay_what_is_there_and_what_makes_no_sense_is_refused_in_words(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.csv"
    assert export(config, "windows", out, "--region", "ap-south") == 5
    assert "must stay on this server" in capsys.readouterr().err
    assert export(config, "windows", out, "--region", "mars") == 3
    assert export(config, "windows", out, "--from", "2030-01-01", "--to", "2029-01-01") == 2
    assert export(config, "windows", out, "--from", "yesterday") == 2
    assert not out.exists() and not list(tmp_path.glob(".*part"))
    out.write_text("mine")
    assert export(config, "windows", out) == 5 and out.read_text() == "mine"


def test_whoever_exports_is_written_down(config: Path, tmp_path: Path, server: Server) -> None:  # noqa: F811
    assert export(config, "events", tmp_path / "out.csv") == 0
    (deed,) = [row for row in server.views.audit(100) if row["action"] == "telemetry.export"]
    assert "5 rows of events" in deed["outcome"]


def test_a_time_is_a_day_a_moment_or_seconds() -> None:
    assert moment("2026-01-01") == moment("2026-01-01T00:00Z") == moment("2026-01-01T01:00+01:00") == 1767225600.0
    assert moment("1767225600.5") == 1767225600.5
    for text in ("", "now", "2026-13-01", "123"):
        with pytest.raises(BadRequest):
            moment(text)


def test_the_page_of_names_says_what_the_export_writes() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/telemetry-names.md").read_text()
    assert names.table() in page
