"""Windows go out several at once, so that a served model costs little on a mobile link; and at once while somebody waits for them."""

from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import BATCH_WITHIN_S
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
