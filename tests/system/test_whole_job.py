"""The whole job: signed, pushed over a real broker, chosen by hardware, tried, served, reported on."""

from contextlib import ExitStack

import pytest

from tests.fakes.fleet import FOUR, SOUTH, WEST, Fleet

from .conftest import MakeFleet

HALVES = [50.0, 100.0]


@pytest.mark.parametrize("broker", ["mosquitto", "iotcore"])
def test_two_releases_reach_two_regions_in_stages_and_no_request_fails(make_fleet: MakeFleet, broker: str) -> None:
    fleet = make_fleet(FOUR, broker=broker)
    first = fleet.release(ballast=100_000)
    fleet.begin(first, stages=HALVES)
    fleet.until_complete(first)
    for region in (WEST, SOUTH):
        assert [move["kind"] for move in fleet.rollout(region, first)["moves"]] == ["start", "open", "complete"]

    # West wants accuracy, south speed; a Pi Zero 2 W has little memory, a Pi 4 lacks an instruction set.
    taken = {name: fleet.model(name)["variant"] for name in fleet.members}
    assert taken == {"zero": "small", "five": "wide", "four": "small", "orin": "dot"}

    second = fleet.release(ballast=100_000)
    with ExitStack() as stack:
        loads = {name: stack.enter_context(fleet.load(name)) for name in fleet.members}
        fleet.until("every device answers", lambda: all(load.answered > 20 for load in loads.values()))
        fleet.begin(second, stages=HALVES)
        fleet.until_complete(second)
        fleet.until("the new release answers", lambda: all(load.by_release[second] > 20 for load in loads.values()))
        fleet.until("telemetry came", lambda: all(reports(fleet, name, second) for name in fleet.members))
    for name, load in loads.items():
        assert load.failures == [], name
        assert set(load.by_release) == {first, second}, name
        assert fleet.model(name)["failures"] == []


def reports(fleet: Fleet, name: str, release: str) -> bool:
    """Whether telemetry told of latency and memory of the release."""
    row = fleet.model(name)
    points = [
        point
        for model in fleet.get(f"/v1/devices/{name}/latency")["models"]
        for point in model["points"]
        if point["release"] == release and point["requests"] and point["p95_s"] > 0
    ]
    return bool(points) and bool(row["latency_p50_s"]) and (row["memory_bytes"] or 0) > 1_000_000
