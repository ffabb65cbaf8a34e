"""Windows go out several at once, so that a served model costs little on a mobile link; and at once while somebody waits for them."""

import random
import uuid
from pathlib import Path

from edgefleet_agent.observe import Now
from edgefleet_agent.store.disk import Disk
from edgefleet_agent.store.outbox import Outbox
from edgefleet_agent.telemetry import Telemetry
from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_protocol.telemetry import BATCH_WITHIN_S, DeviceWindow, InterfaceWindow, ModelWindow, Window
from tests.fakes.device import FakeDevice, assign, fleet, package, proven

MINUTE = Policy(telemetry_interval_s=60.0)


def serving(policy: Policy) -> FakeDevice:
    device, hub = fleet()
    first = package(1)
    hub.publish(first)
    hub.roll_out(assign(first), policy=policy)
    device.boot().run(until=proven(first))
    device.pass_time(400)
    return device


def test_a_served_model_s_windows_go_out_five_at_once_and_none_twice() -> None:
    device = serving(MINUTE)
    before = len(device.batches())
    device.pass_time(3600)
    came = device.batches()[before:]
    assert [len(batch.windows) for batch in came] == [5] * len(came) and 11 <= len(came) <= 13
    starts = [row.started_monotonic_s for batch in came for row in batch.windows]
    assert len(set(starts)) == len(starts) and starts == sorted(starts)
    assert device.disk.size(device.settings.state / "outbox/outbox.db") is None, "nothing was written"


def test_windows_that_are_too_few_go_out_by_time() -> None:
    device = serving(Policy(telemetry_interval_s=130.0))
    before = len(device.batches())
    device.pass_time(3600)
    came = device.batches()[before:]
    assert {len(batch.windows) for batch in came} <= {2, 3} and len(came) >= 3600 / (3 * 130) - 1
    assert all(130 * len(batch.windows) <= BATCH_WITHIN_S + 130 for batch in came)


def test_where_somebody_watches_each_goes_out_as_it_ends() -> None:
    device = serving(Policy(telemetry_interval_s=30.0))
    before = len(device.batches())
    device.pass_time(600)
    assert [len(batch.windows) for batch in device.batches()[before:]] == [1] * 20


def test_on_probation_nothing_is_held_back_for_a_rollout_waits_for_it() -> None:
    device, hub = fleet()
    first, second = package(1), package(2)
    hub.publish(first, second)
    hub.roll_out(assign(first), policy=MINUTE)
    device.boot().run(until=proven(first))
    device.pass_time(700)
    hub.roll_out(assign(second), policy=MINUTE)
    device.run(until=lambda one: one.phase() == "probation")
    device.run(turns=4)
    last = device.batches()[-1].windows[-1]
    assert last.started_monotonic_s + last.seconds >= device.clock.monotonic() - 60 - 30, (
        "what was before the switch is there"
    )


def test_a_new_session_sends_what_was_under_way_again_and_what_is_held_back_stays() -> None:
    device = serving(MINUTE)
    device.run(until=lambda one: len(one.agent.telemetry.waiting) == 2)
    before = len(device.batches())
    device.broker.cut()
    device.pass_time(30)
    assert len(device.batches()) == before and len(device.agent.telemetry.waiting) == 2


def test_what_waits_when_the_agent_ends_is_sent_once_it_is_back() -> None:
    device = serving(MINUTE)
    device.run(until=lambda one: len(one.agent.telemetry.waiting) == 2)
    held = {row.started_monotonic_s for _, row in device.agent.telemetry.waiting}
    device.stop()
    device.boot()
    device.run(turns=20)
    assert held <= {row.started_monotonic_s for batch in device.batches() for row in batch.windows}


def full_window(number: int, dice: random.Random) -> Window:
    """Return a window of a board that has every sensor, with ten requests a second."""
    latency, confidence = SketchBuilder(), SketchBuilder()
    for _ in range(600):
        latency.add(dice.lognormvariate(-3.5, 0.3))
        confidence.add(dice.betavariate(8, 2))
    model = ModelWindow(
        model="fashion", release="fashion/12", release_sha256="ab12" * 16, variant="int8-static", requests=600,
        latency=latency.build(), confidence=confidence.build(), memory_bytes=61_000_000 + dice.randrange(10**6),
    )  # fmt: skip
    wifi = InterfaceWindow(
        name="wlan0", received_bytes=dice.randrange(10**5), sent_bytes=dice.randrange(10**5), signal_dbm=-55.0
    )
    device = DeviceWindow(
        cpu_percent=round(dice.uniform(20, 40), 1), memory_available_bytes=dice.randrange(2**31), storage_free_bytes=dice.randrange(2**34),
        temperature_c=round(dice.uniform(50, 60), 3), throttled=(), throttled_s={}, battery_percent=80.0, battery_charging=True,
        power_w=round(dice.uniform(4, 6), 3), power_source="pmic", energy_j=round(dice.uniform(250, 300), 3), energy_s=59.9, idle_w=3.123,
        agent_memory_bytes=40_000_000 + dice.randrange(10**6), storage_written_bytes=dice.randrange(10**6), storage_wear_percent=10.0,
        network=(wifi, InterfaceWindow(name="eth0")),
    )  # fmt: skip
    return Window(
        start_s=round(1.8e9 + 60 * number, 3), seconds=round(60 + dice.random() / 10, 3), boot=str(uuid.UUID(int=7)),
        started_monotonic_s=round(5000 + 60 * number + dice.random(), 3), device=device, models=(model,),
    )  # fmt: skip


def test_a_day_of_a_board_with_every_sensor_costs_less_than_half_a_megabyte_on_the_wire(tmp_path: Path) -> None:
    """Beside the payload, a message has 60 bytes of MQTT with its topic, 4 of its PUBACK, and 126 of TLS, TCP and IP each way."""
    dice, queue = random.Random(1), Telemetry("porch-1", Outbox(Disk(), tmp_path))
    total = messages = 0
    for number in range(100):
        ends = 5060.0 + 60 * number
        queue.add(full_window(number, dice), ends)
        if (found := queue.batch(Now(ends, 1.8e9, True), "boot", 0)) is not None:
            queue.sent(number, found[1], ends)
            queue.acknowledged(number)
            total, messages = total + len(found[0]) + 60 + 4 + 2 * 126, messages + 1
    assert messages == 20 and total * 14.4 < 500_000
