"""S25: ten days without a broker while telemetry is on. One turn a window, so that ten days take a second."""

from edgefleet_agent.store import outbox as outboxes
from edgefleet_protocol.rollout import Policy
from tests.fakes.device import STATE, FakeDevice, assign, fleet, package, proven
from tests.fakes.disk import ALL_LOST

WINDOW_S = 600.0
WINDOWS = 10 * 144
CAP_BYTES = 100_000
"""Less than ten days of windows, and more than ten days of hours."""


def offline_for(device: FakeDevice, windows: int) -> int:
    """Let so many windows pass; return the most bytes that the outbox's rows ever had."""
    most = 0
    for _ in range(windows):
        device.clock.advance(WINDOW_S)
        device.agent.turn(device.clock.monotonic())
        box = device.agent.store.outbox
        box._max_bytes = CAP_BYTES
        most = max(most, device.disk.size(STATE / "outbox/outbox.db") or 0)
    return most


def test_s25_ten_days_offline_cost_resolution_and_never_space_and_a_power_cut_costs_ten_minutes() -> None:
    device, hub = fleet()
    first = package(1)
    hub.publish(first)
    hub.roll_out(assign(first), policy=Policy(telemetry_interval_s=WINDOW_S))
    device.boot().run(until=proven(first))
    device.run(until=lambda one: one.agent.telemetry.in_flight is None and not one.agent.telemetry.waiting)
    before = len(device.windows())
    device.broker.cut()
    device.broker.reachable = False
    began = device.clock.wall

    most = offline_for(device, WINDOWS // 2)
    device.disk = device.disk.survivor(ALL_LOST)
    device.boot()
    most = max(most, offline_for(device, WINDOWS // 2))
    assert most < 2.5 * CAP_BYTES, "beside the windows a file has an index, and pages that are not full"
    kept = device.agent.store.outbox.count()
    assert 240 <= kept < 0.7 * WINDOWS

    device.broker.reachable = True
    ended = device.clock.wall
    device.run(until=lambda one: one.agent.store.outbox.count() == 0 and not one.agent.telemetry.waiting)
    came = device.windows()[before:]
    covered = sum(window.seconds for window in came)
    assert ended - began - 3 * WINDOW_S <= covered <= ended - began + 2 * WINDOW_S, "all but what was in memory"
    assert max(window.seconds for window in came) <= outboxes.MAX_WINDOW_S
    assert WINDOWS - 4 <= len(came) + device.batches()[-1].dropped_windows <= WINDOWS + 4, "what was merged is counted"
    assert (device.disk.size(STATE / "outbox/outbox.db") or 0) < outboxes.SHRINK_FROM_BYTES / 2, "space is given back"
    assert device.serving() == "fashion/1"
