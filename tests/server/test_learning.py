"""What devices measured goes back: into tables, documents, plans, and a file for the search."""

from dataclasses import replace
from typing import Any

import msgspec
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.codec import encode
from edgefleet_protocol.messages import DeviceState, Measured, ModelState
from edgefleet_server.rollouts.learning import LEAST_DEVICES, MOST_KEPT, Learnt, bounded, learn, missing, settle, table
from edgefleet_server.rollouts.orders import Order
from edgefleet_server.store import devices, measurements
from edgefleet_server.store.devices import Device
from tests.fakes.repository import FakeRepository
from tests.fakes.scripted_device import PI4, ZERO

from .conftest import MakeServer
from .fleet_in_store import WEST, StoredFleet, make_fleet
from .records import device

KEY = ("fashion/1", "fp32", "pi4")


def measured(one: Device, seconds: float, memory: int = 30_000_000) -> Device:
    assert one.state is not None
    row = Measured(
        release="fashion/1", variant="fp32", latency_p50_s=seconds, latency_p95_s=2 * seconds, memory_bytes=memory
    )
    model = ModelState(model="fashion", phase="proven", why="", measured=(row,))
    return replace(one, state=msgspec.structs.replace(one.state, models=(model,)))


def test_classes_are_pooled_by_their_median_and_largest_memory() -> None:
    fleet = [measured(device(f"d{n}"), 0.010 + 0.001 * n, 30 + n) for n in range(5)]
    fleet.append(measured(device("zero", hardware=ZERO), 0.2))
    found = learn(fleet)
    assert found[KEY] == Learnt(5, 0.012, 0.024, 34)
    assert found["fashion/1", "fp32", "pi-zero-2-w"].devices == 1


def test_few_devices_and_other_classes_are_not_told() -> None:
    learnt = {KEY: Learnt(LEAST_DEVICES - 1, 0.01, 0.02), ("fashion/1", "int8", "pi4"): Learnt(30, 0.00512, 0.01)}
    (row,) = table(learnt, "fashion/1", ["pi4"])
    assert (row.variant, row.p50_s, row.devices) == ("int8", 0.0051, 30)
    assert table(learnt, "fashion/1", ["pi5"]) == table(learnt, "fashion/2", ["pi4"]) == ()


@given(st.lists(st.floats(0.0105, 0.0109), min_size=1, max_size=20), st.integers(3, 9))
def test_a_median_that_hardly_moves_tells_nobody_anything_new(medians: list[float], count: int) -> None:
    known = {KEY: Learnt(count, 0.0107, 0.02)}
    for median in medians:
        after = settle(known, {KEY: Learnt(count, median, 0.02)})
        assert table(after, "fashion/1", ["pi4"]) == table(known, "fashion/1", ["pi4"])
        known = after


def test_what_is_known_stays_when_its_devices_are_gone() -> None:
    known = {KEY: Learnt(5, 0.01, 0.02)}
    assert settle(known, {}) == known
    assert settle(known, {KEY: Learnt(5, 0.02, 0.04)})[KEY].p50_s == 0.02


def test_names_that_a_device_makes_up_fill_no_table(make_server: MakeServer, repo: FakeRepository) -> None:
    honest = {("fashion/1", "fp32", f"class-{n}"): Learnt(2, 0.01, 0.02) for n in range(5)}
    invented = {("fashion/1", f"v{n}", "a"): Learnt(1, 0.01, 0.02) for n in range(2 * MOST_KEPT)}
    kept = bounded({**invented, **honest, ("fake/1", "fp32", "pi4"): Learnt(99, 0.01, 0.02)}, ["fashion/1"])
    assert len(kept) == MOST_KEPT and honest.items() <= kept.items()
    assert {release for release, _, _ in kept} == {"fashion/1"}

    fleet = make_fleet(make_server, repo, 1)
    say(fleet, "pi-00", 0.1)
    say(fleet, "liar", 0.1, "fashion/made-up")
    with fleet.server.database.write() as connection:
        measurements.put(connection, {("fake/1", "fp32", "pi4"): Learnt(1, 0.01, 0.02)}, 1.0)
    fleet.server.controller.turn()
    with fleet.server.database.read() as connection:
        assert measurements.every(connection).keys() == {("fashion/2", "fp32", "pi4")}
    fleet.server.database.close()


def test_a_wish_names_the_class_how_many_and_the_least_memory() -> None:
    small = msgspec.structs.replace(ZERO, memory_bytes=400_000_000)
    fleet = [device("a", hardware=ZERO), device("b", hardware=small), device("c")]
    (row,) = missing(WEST, "fashion/2", {"a": "needs more", "b": "needs more"}, fleet)
    assert (row.hardware_class, row.devices, row.memory_bytes) == ("pi-zero-2-w", 2, 400_000_000)


def say(fleet: StoredFleet, name: str, seconds: float, release: str = "fashion/2") -> None:
    """A device that tried a release and told what it measured."""
    row = Measured(release=release, variant="fp32", latency_p50_s=seconds, latency_p95_s=seconds)
    model = ModelState(model="fashion", phase="waiting", why="", measured=(row,))
    state = DeviceState(
        device=name, session=1, boot="b", at_s=1.0, agent_version="0.1.0", region=WEST, hardware=PI4, models=(model,)
    )
    with fleet.server.database.write() as connection:
        devices.put_state(connection, state, encode(state), fleet.clock.at, live=True)


def test_what_a_class_measured_is_signed_for_it_and_planned_with(make_server: MakeServer, repo: FakeRepository) -> None:
    fleet = make_fleet(make_server, repo, 5)
    for name in fleet.names[:4]:
        say(fleet, name, 0.0771)
    fleet.server.controller.turn()
    (plan,) = fleet.server.controller.plan(Order("fashion/2", regions=(WEST,)))
    sources = {row.device: row.choice.table[0].latency for row in plan.devices}
    assert sources["pi-00"].source == "measured here"
    assert (sources["pi-04"].source, sources["pi-04"].p50_s) == ("measured on its class", 0.077)
    order = Order("fashion/2", regions=(WEST,), deadline_s=10 * 86400.0)
    (plan,) = fleet.server.controller.plan(order)
    fleet.server.controller.begin(replace(order, plan_digest=plan.digest), "ana")
    document = fleet.server.repository.rollout(WEST)
    assert document is not None
    (row,) = document.assignments[0].measured
    assert (row.variant, row.hardware_class, row.p50_s, row.devices) == ("fp32", "pi4", 0.077, 3)
    for name in fleet.names[:4]:
        say(fleet, name, 0.2)
    fleet.clock.at += 700
    fleet.turn()
    assert fleet.server.repository.rollout(WEST) == document, "a table alone goes out once a day"
    fleet.clock.at += 86400
    fleet.turn()
    later = fleet.server.repository.rollout(WEST)
    assert later is not None and later.assignments[0].measured[0].p50_s == 0.2
    fleet.server.database.close()


def test_the_file_for_the_search_has_what_was_measured_and_what_is_missing(
    make_server: MakeServer, repo: FakeRepository, tmp_path: Any
) -> None:
    fleet = make_fleet(make_server, repo, 3)
    fleet.add(["bare"], msgspec.structs.replace(PI4, runtimes=()))
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    fleet.switch("fashion/1", fleet.names[:3])
    fleet.measure(fleet.names[:3], 0.010)
    fleet.server.roller.turn()
    client = TestClient(fleet.server.web, base_url="http://127.0.0.1:8300")
    (row,) = client.get("/v1/measurements").json()["items"]
    assert (row["release"], row["hardware_class"], row["trial"]) == ("fashion/1", "pi4", None)
    assert row["served"]["requests"] == 540 and 0.008 < row["served"]["p50_s"] < 0.02
    first = client.get("/v1/wishes", params={"limit": 1}).json()
    assert first["next"] is None
    for mark in ("²", "-1", "x"):
        wrong = client.get("/v1/wishes", params={"after": mark})
        assert wrong.status_code == 422 and "which no page gave out" in wrong.json()["detail"]
    assert first["items"][0]["hardware_class"] == "pi4" and "onnxruntime" in first["items"][0]["why"]
    fleet.server.database.close()


def test_no_time_that_a_device_may_tell_keeps_what_was_learnt_from_being_settled() -> None:
    before = learn([measured(device("liar"), 1e9)])
    after = learn([measured(device("liar"), 5e-324)])
    assert settle(before, after)[KEY].p50_s == 5e-324
    assert settle(after, before)[KEY].p50_s == 1e9
