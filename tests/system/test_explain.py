"""What a device explains and what the server plans are one table, word for word."""

import json
from collections.abc import Sequence
from typing import Any

from tests.fakes.fleet import VARIANTS, Fleet
from tests.fakes.parts import run
from tests.fakes.spoil import wrong_golden

TOO_HOT_FOR_ANYTHING = {
    "eu-west": {"objective": "accuracy", "telemetry_interval_s": 1.0, "max_temperature_c": 1.0},
    "ap-south": {"objective": "latency", "telemetry_interval_s": 1.0, "max_temperature_c": 1.0},
}


def plan(fleet: Fleet, release: str, regions: Sequence[str] = ()) -> dict[str, Any]:
    """Return what `edgefleet rollout plan` says of each device: its row, or why it is left out."""
    where = [word for region in regions for word in ("--region", region)]
    done = run(["edgefleet", "rollout", "plan", release, *where, "--server", fleet.url, "--json"])
    assert done.returncode in (0, 5), done.stderr  # 5: it would be refused, as it runs already
    rows = json.loads(done.stdout)["regions"]
    taken = {row["device"]: row["choice"] for region in rows for row in region["devices"]}
    return taken | {row["device"]: row["why"] for region in rows for row in region["left_out"]}


def test_before_the_trial_device_and_plan_say_the_same_and_both_only_predict(fleet: Fleet) -> None:
    """A device that knows its wish and may not begin yet has measured nothing: its table is the plan's, number for number."""
    release = fleet.release("explained")
    planned = plan(fleet, release)
    fleet.begin(release, policies=TOO_HOT_FOR_ANYTHING)
    for name in fleet.members:
        fleet.until(f"{name} waits", fleet.says, name, "°C", "explained")
        said = fleet.explain(name, "explained")
        assert said["release"] == release
        assert said["choice"] == planned[name]
        names_all(said["choice"])
        sources = {row["latency_source"] for row in said["choice"]["table"]}
        assert sources == {"predicted"}, "nothing was tried, so nothing may claim to be measured"


def test_after_the_trial_device_and_plan_say_the_same_and_both_say_what_was_measured(fleet: Fleet) -> None:
    """The state carries what the trial measured, so that the plan takes the device's own figure."""
    release = fleet.release("measured")
    fleet.roll_out(release)
    planned = plan(fleet, release)
    for name in fleet.members:
        said = fleet.explain(name, "measured")["choice"]
        assert said == planned[name]
        names_all(said)
        sources = {row["variant"]: row["latency_source"] for row in said["table"]}
        assert sources.pop(said["taken"]) == "measured here"
        assert set(sources.values()) == {"predicted"}


def test_of_a_variant_that_failed_device_and_plan_give_the_same_reason(fleet: Fleet) -> None:
    """One variant fails in its trial, the device takes the next; both then name the failure in the same words."""
    release = fleet.release("partly", spoil=wrong_golden("wide"))
    fleet.begin(release, ["eu-west"], gate={"max_failed_percent": 100.0, "min_proven_percent": 0.0})
    fleet.until("it serves another variant", fleet.runs, "five", release)
    said, planned = fleet.explain("five", "partly")["choice"], plan(fleet, release)["five"]
    assert said == planned
    row = next(row for row in said["table"] if row["variant"] == "wide")
    assert row["verdict"] == "excluded" and row["reason"].startswith("failed here: trial: ")
    assert said["taken"] == "dot"


def names_all(choice: dict[str, Any]) -> None:
    assert {row["variant"] for row in choice["table"]} == set(VARIANTS)
    assert [row["verdict"] for row in choice["table"]].count("taken") == 1
    assert all(row["reason"] for row in choice["table"])
