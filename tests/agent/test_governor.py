"""The governor: it steps down, climbs back, never flaps, never leaves the floors, and takes the road of any candidate."""

import itertools
import random
from typing import Any

import pytest

from edgefleet_agent.conditions import Surroundings
from edgefleet_agent.rules.governor import Move, Rung, Standing, govern, step_down, watch
from edgefleet_agent.rules.seen import Strain
from edgefleet_protocol.manifest import Requirement
from edgefleet_protocol.messages import ModelState
from edgefleet_protocol.rollout import Governor, Policy
from edgefleet_protocol.telemetry import DeviceWindow
from tests.fakes.device import FakeDevice, FakeHub, Package, assign, fleet, package, proven
from tests.fakes.launcher import Behaviour

LADDER = (
    Rung("best", 0.95, 0.030, 200_000_000, 9_000_000),
    Rung("mid", 0.93, 0.015, 90_000_000, 4_000_000),
    Rung("odd", 0.91, 0.020, 20_000_000, 5_000_000),
    Rung("tiny", 0.88, 0.005, 30_000_000, 1_000_000),
)
RULES = Governor(max_temperature_c=80.0, after_s=30.0, climb_after_s=300.0, dwell_s=120.0)
HOT, COOL = DeviceWindow(temperature_c=85.0), DeviceWindow(temperature_c=60.0)


def around(window: DeviceWindow, **more: Any) -> Surroundings:
    return Surroundings(window, 10**9, more.pop("free", None), 1000, **more)


# --- the pure rules


@pytest.mark.parametrize(
    ("window", "more", "reason"),
    [
        (HOT, {}, "hotter than 80 °C"),
        (DeviceWindow(throttled=("throttled",)), {}, "held back (throttled)"),
        (DeviceWindow(battery_percent=15, battery_charging=False), {}, "battery is below 20 %"),
        (DeviceWindow(), {"free": 40_000_000}, "less than 50 MB"),
        (DeviceWindow(), {"memory_pressure_percent": 31.0}, "wait for memory more than 30 %"),
        (DeviceWindow(battery_percent=15, battery_charging=True), {}, None),
        (DeviceWindow(), {}, None),
        (DeviceWindow(temperature_c=75.0, throttled=()), {"free": 60_000_000}, None),
    ],
)
def test_each_reason_presses_by_itself_and_what_cannot_be_read_is_none(
    window: DeviceWindow, more: dict[str, Any], reason: str | None
) -> None:
    rules = Governor(
        max_temperature_c=80,
        throttled=True,
        battery_floor_percent=20,
        min_memory_available_bytes=50_000_000,
        max_memory_pressure_percent=30,
    )
    strain = watch(Strain(), around(window, **more), rules, 5.0)
    assert strain.why is None if reason is None else reason in (strain.why or "") and strain.since == 5.0
    assert watch(Strain(), around(window, **more), None, 5.0) == Strain()


def test_a_reason_is_over_only_by_its_margin() -> None:
    def calm(window: DeviceWindow, rules: Governor = RULES, **more: Any) -> bool:
        return watch(Strain(), around(window, **more), rules, 1.0).calm_since is not None

    assert calm(COOL) and not calm(DeviceWindow(temperature_c=75.0))
    battery = Governor(battery_floor_percent=20)
    assert not calm(DeviceWindow(battery_percent=25, battery_charging=False), battery)
    assert calm(DeviceWindow(battery_percent=25, battery_charging=True), battery)
    assert calm(DeviceWindow(battery_percent=31, battery_charging=False), battery)
    memory = Governor(min_memory_available_bytes=50_000_000, max_memory_pressure_percent=30)
    assert not calm(DeviceWindow(), memory, free=60_000_000) and calm(DeviceWindow(), memory, free=110_000_000)
    assert not calm(DeviceWindow(), memory, memory_pressure_percent=20.0)


def test_a_step_down_is_the_most_accurate_that_costs_less_of_what_is_short() -> None:
    def below(current: str, memory: bool = False) -> str | None:
        found = step_down(LADDER, current, memory=memory)
        return found.name if found else None

    assert [below("best"), below("mid"), below("tiny")] == ["mid", "tiny", None]
    assert [below("mid", True), below("tiny", True), below("odd", True)] == ["odd", "odd", None]
    assert step_down(LADDER, "gone", memory=False) is None


def test_it_waits_until_a_reason_has_lasted_and_climbs_one_step_at_a_time() -> None:
    hot, calm = Strain("hot", False, 100.0), Strain(calm_since=100.0)

    def move(below: tuple[str, ...], strain: Strain, now: float, moved_at: float = -1e9) -> Move | None:
        return govern(Standing("best", below, LADDER, strain, moved_at), RULES, now)

    assert move((), hot, 129.0) is None
    down = move((), hot, 131.0)
    assert down is not None and down.below == ("mid",) and "hot" in down.why
    assert move((), hot, 131.0, moved_at=100.0) is None, "not sooner than the dwell"
    further = move(("mid",), hot, 131.0)
    assert further is not None and further.below == ("mid", "tiny")
    up = move(("mid", "tiny"), calm, 401.0)
    assert up is not None and up.below == ("mid",)
    assert move(("mid",), calm, 399.0) is None and move((), calm, 401.0) is None
    gone = govern(Standing("best", ("gone", "tiny"), LADDER, calm, -1e9), RULES, 401.0)
    assert gone is not None and gone.below == (), "a variant that fits no more is passed over"


def test_where_heat_and_short_memory_take_turns_the_way_back_up_stays_as_short_as_the_ladder() -> None:
    rules = Governor(max_temperature_c=80.0, min_memory_available_bytes=50_000_000, after_s=30.0, dwell_s=120.0)
    below: tuple[str, ...] = ()
    strain, served, moved_at = Strain(), ["best"], -1e9
    for step in range(2000):
        now = 5.0 * step
        window, free = (HOT, 10**9) if step // 60 % 2 else (COOL, 40_000_000)
        strain = watch(strain, around(window, free=free), rules, now)
        if (move := govern(Standing("best", below, LADDER, strain, moved_at), rules, now)) is not None:
            below, moved_at = move.below, now
            served.append(below[-1] if below else "best")
            assert move.why.endswith(f"down to {served[-1]}")
            assert len({"best", *below}) == 1 + len(below), below
    assert len(served) > 20


@pytest.mark.parametrize("seed", range(60))
def test_it_never_flaps_whatever_the_thermometer_says_and_never_leaves_the_ladder(seed: int) -> None:
    dice = random.Random(seed)
    dwell = dice.choice([0.0, 30.0, 120.0, 600.0])
    rules = Governor(
        max_temperature_c=80.0,
        temperature_margin_c=dice.choice([0.0, 8.0]),
        after_s=dice.choice([0.0, 30.0]),
        climb_after_s=dice.choice([0.0, 60.0]),
        dwell_s=dwell,
    )
    below: tuple[str, ...] = ()
    strain, moves, degrees, moved_at = Strain(), [], 70.0, 0.0
    for step in range(2000):
        now = 5.0 * step
        degrees = dice.choice([degrees + dice.uniform(-6, 6), dice.uniform(40, 100)])
        strain = watch(strain, around(DeviceWindow(temperature_c=degrees)), rules, now)
        move = govern(Standing("best", below, LADDER, strain, moved_at), rules, now)
        if move is not None:
            assert abs(len(move.below) - len(below)) == 1 and move.why
            below, moved_at = move.below, now
            moves.append(now)
    assert len(moves) <= 1 + 10_000 / max(dwell, 10.0)
    assert all(late - early >= max(dwell, 10.0) for early, late in itertools.pairwise(moves))


# --- on a device


def release() -> Package:
    return package(1, {"best": 0.95, "mid": 0.93, "tiny": 0.80}, requires=Requirement(load_s=5.0))


def policy(**rules: Any) -> Policy:
    settings: dict[str, Any] = {"max_temperature_c": 80.0, "after_s": 10.0, "climb_after_s": 60.0, "dwell_s": 60.0}
    return Policy(telemetry_interval_s=10.0, governor=Governor(**{**settings, **rules}))


def governed(one: Package, rules: Policy) -> tuple[FakeDevice, FakeHub]:
    device, hub = fleet()
    for name, latency_s in (("best", 0.030), ("mid", 0.015), ("tiny", 0.005)):
        device.behaviours[one.variant_sha256(name)] = Behaviour(latency_s=latency_s)
    hub.publish(one)
    hub.roll_out(assign(one), policy=rules)
    device.boot().run(until=proven(one))
    return device, hub


def variant(device: FakeDevice) -> str:
    worker = device.launcher.answering("fashion")
    return worker.spec.variant if worker else "none"


def model(device: FakeDevice) -> ModelState:
    found = device.model()
    assert found is not None
    return found


def test_under_heat_a_device_steps_down_says_why_and_climbs_back_without_a_moment_without_a_model() -> None:
    one = with_sizes()
    device, _ = governed(one, policy(min_accuracy=0.9))
    assert variant(device) == "best"
    gaps = []
    device.after_turn = lambda now: gaps.append(now.serving() is None)
    device.probe.window = HOT
    device.run(until=lambda now: variant(now) == "mid", turns=100)
    device.run(until=lambda now: model(now).governed is not None, turns=5)
    assert model(device).governed == "mid instead of best: it is hotter than 80 °C: from best down to mid"
    assert model(device).phase == "proven" and model(device).running.proven  # type: ignore[union-attr]
    device.run(turns=200)
    assert variant(device) == "mid", "tiny is below the floor of accuracy"
    device.probe.window = COOL
    device.run(until=lambda now: variant(now) == "best", turns=100)
    told = [event.text for event in device.events() if event.kind == "governed"]
    assert told[0].endswith("from best down to mid") and told[1].endswith("from mid back up to best")
    assert not any(gaps) and len(told) == 2 and model(device).governed is None
    assert device.kinds().count("tried") == 2, "what was tried once is not tried again"


def with_sizes() -> Package:
    """Return a release whose variants need different memory, so that there is an order before anything was measured."""
    from msgspec.structs import replace

    from edgefleet_protocol.codec import encode

    one = release()
    needs = {"best": 90_000_000, "mid": 50_000_000, "tiny": 20_000_000}
    variants = tuple(
        replace(row, requires=replace(row.requires, memory_bytes=needs[row.name])) for row in one.release.variants
    )
    changed = replace(one.release, variants=variants)
    return Package(changed, encode(changed), one.chunks)


def test_it_goes_down_to_the_last_variant_over_restarts_and_keeps_its_place() -> None:
    device, _ = governed(with_sizes(), policy())
    device.probe.window = HOT
    device.run(until=lambda now: variant(now) == "tiny", turns=300)
    device.broker.cut(keep_sessions=False)
    device.boot().run(turns=60)
    assert variant(device) == "tiny"
    device.probe.window = COOL
    device.run(until=lambda now: variant(now) == "best", turns=300)


def test_what_it_steps_down_to_is_fetched_and_tried_ahead_where_the_policy_says_so_and_then_needs_no_network() -> None:
    device, _ = governed(with_sizes(), policy(prefetch=True))
    device.run(until=lambda now: "fashion/1 mid" in now.launcher.trials, turns=100)
    device.run(turns=30)
    assert variant(device) == "best" and model(device).phase == "proven"
    assert "fashion/1 tiny" not in device.launcher.trials
    device.broker.reachable = False
    device.broker.cut()
    device.probe.window = HOT
    device.run(until=lambda now: variant(now) == "mid", turns=60)


def test_a_variant_that_misbehaves_when_stepped_down_to_ends_only_itself() -> None:
    one = with_sizes()
    device, _ = governed(one, policy())
    device.behaviours[one.variant_sha256("mid")] = Behaviour(errors_percent=50, latency_s=0.015)
    device.probe.window = HOT
    device.run(until=lambda now: "fell-back" in now.kinds(), turns=200)
    device.run(until=lambda now: variant(now) == "tiny", turns=200)
    assert model(device).phase == "proven" and [row.variant for row in model(device).failures] == ["mid"]


def test_a_release_before_is_kept_while_the_governor_moves_within_the_one_that_runs() -> None:
    from msgspec.structs import replace

    from edgefleet_protocol.codec import encode

    old, base = package(1), with_sizes()
    newer = replace(base.release, version=2)
    new = Package(newer, encode(newer), base.chunks)
    device, hub = fleet()
    hub.publish(old, new)
    hub.roll_out(assign(old))
    device.boot().run(until=proven(old))
    hub.roll_out(assign(new), policy=policy())
    device.run(until=proven(new))
    device.probe.window = HOT
    device.run(until=lambda now: variant(now) == "tiny", turns=300)
    assert model(device).previous is not None and model(device).previous.release == "fashion/1"  # type: ignore[union-attr]


def test_a_governor_that_leaves_the_policy_lets_the_chosen_variant_back() -> None:
    one = with_sizes()
    device, hub = governed(one, policy())
    device.probe.window = HOT
    device.run(until=lambda now: variant(now) == "mid", turns=100)
    hub.roll_out(assign(one))
    device.run(until=lambda now: variant(now) == "best", turns=100)
