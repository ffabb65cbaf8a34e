"""What telemetry promises: silence while all is well, a bound, nothing lost by a cut that was stored, and order without a clock."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from edgefleet_agent.observe import Now
from edgefleet_agent.store.outbox import Outbox, key_of
from edgefleet_agent.telemetry import dated
from edgefleet_protocol.rollout import Policy
from tests.fakes.device import FakeDevice, assign, fleet, package, proven
from tests.fakes.disk import ALL_LOST, NOTHING_LOST, FakeConnection, FakeDisk, Fate, some_lost

from .test_outbox import window

TODAY = 1_800_000_000.0
FOLDER = Path("/outbox")
ADDS = ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9])


def serving() -> FakeDevice:
    device, hub = fleet()
    first = package(1)
    hub.publish(first)
    hub.roll_out(assign(first), policy=Policy(telemetry_interval_s=60.0))
    device.boot().run(until=proven(first))
    device.pass_time(1200)
    return device


def test_s25_a_device_in_good_order_writes_nothing_to_its_disk_for_hours() -> None:
    device = serving()
    operations, told = device.disk.operations, len(device.windows())
    device.pass_time(3 * 3600)
    assert device.disk.operations == operations
    assert len(device.windows()) >= told + 3 * 60 - 5


def outbox_on(disk: FakeDisk) -> Outbox:
    return Outbox(disk, FOLDER, lambda path: FakeConnection(disk, path), max_rows=4)


@pytest.mark.parametrize("fate", [ALL_LOST, NOTHING_LOST, some_lost(1), some_lost(2)], ids=lambda fate: fate.name)
def test_s25_a_cut_at_any_moment_of_storing_and_merging_loses_no_window_that_was_stored_and_counts_each(
    fate: Fate,
) -> None:
    disk = FakeDisk()
    disk.mkdir(FOLDER)
    disk.fsync_folder(Path("/"), "fact-folder")
    left: list[tuple[int, FakeDisk]] = []
    stored = 0

    def cut(at: FakeDisk, operation: str, path: str) -> None:
        left.append((stored, at.survivor(fate)))

    disk.hook = cut
    outbox = outbox_on(disk)
    for numbers in ADDS:
        assert outbox.add(window(number) for number in numbers)
        stored += len(numbers)
    disk.hook = None
    left.append((stored, disk.survivor(fate)))
    assert len(left) > 50
    for least, after in left:
        again = outbox_on(after)
        kept = again.oldest(100)
        there = sum(row.models[0].requests for row in kept) // 3
        assert there in [count for count in (0, 4, 8, 10) if count >= least][:2], "all of a transaction, or nothing"
        assert len(kept) <= 4 and len(kept) + again.lost() == there, "what was merged is counted, once"
        assert [key_of(row) for row in kept] == sorted(key_of(row) for row in kept)
        again.close()


def test_s28_what_was_measured_while_the_clock_was_wrong_is_dated_when_it_came_right() -> None:
    device = serving()
    device.broker.cut()
    device.broker.reachable = False
    device.clock.wall = 60.0
    device.boot()
    device.pass_time(1500)
    before = {key_of(row) for row in device.windows()}
    device.clock.wall = TODAY + device.clock.monotonic()
    device.broker.reachable = True
    device.run(until=lambda one: one.agent.store.outbox.count() == 0 and len(one.windows()) >= len(before) + 24)
    came = [row for row in device.windows() if key_of(row) not in before]
    assert [row.clock_trusted for row in came] == [True] * len(came)
    assert all(row.start_s == pytest.approx(TODAY + row.started_monotonic_s, abs=0.01) for row in came)


def test_s28_windows_of_a_boot_that_never_had_the_time_keep_their_order_and_say_that_they_are_not_dated() -> None:
    device = serving()
    device.broker.cut()
    device.broker.reachable = False
    device.clock.wall = 60.0
    for _ in range(2):
        device.boot()
        device.pass_time(700)
        device.stop()
    before, boot = {key_of(row) for row in device.windows()}, device.clock.boot()
    device.clock.wall = TODAY
    device.broker.reachable = True
    device.boot()
    device.run(until=lambda one: one.agent.store.outbox.count() == 0 and one.agent.telemetry.in_flight is None)
    came = [row for row in device.windows() if key_of(row) not in before and row.boot != device.clock.boot()]
    boots = [row.boot for row in came]
    assert boots[-1] == boot and len(set(boots)) == 2 and boots == sorted(boots, key=boots.index)
    assert not any(row.clock_trusted for row in came)
    for name in set(boots):
        starts = [row.started_monotonic_s for row in came if row.boot == name]
        assert starts == sorted(starts)


def test_a_clock_that_is_still_wrong_and_a_window_that_was_right_change_no_date() -> None:
    wrong = window(3, "b")
    assert dated(wrong, "b", Now(500.0, TODAY, True)) is wrong
    wrong = replace(wrong, clock_trusted=False)
    assert dated(wrong, "b", Now(500.0, TODAY, False)) is wrong
    assert dated(wrong, "another", Now(500.0, TODAY, True)) is wrong
    right = dated(wrong, "b", Now(500.0, TODAY, True))
    assert (right.start_s, right.clock_trusted, key_of(right)) == (TODAY - 320.0, True, key_of(wrong))


class Stubborn(FakeConnection):
    """A database that lets nothing go while `stuck`: what a disk that became full or read-only does."""

    stuck = False

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> object:
        if self.stuck and sql.startswith("DELETE"):
            raise RuntimeError("database or disk is full")
        return super().execute(sql, parameters)


def test_windows_that_the_disk_does_not_let_go_of_are_sent_once_and_removed_when_it_does() -> None:
    device = serving()
    device.agent.store.outbox._connect = lambda path: Stubborn(device.disk, path)
    device.broker.cut()
    device.broker.reachable = False
    device.pass_time(1500)
    assert device.agent.store.outbox.count() >= 10
    Stubborn.stuck = True
    try:
        device.broker.reachable = True
        device.run(until=lambda one: one.agent.telemetry.gone)
        sent = len(device.batches())
        device.pass_time(1500)
        assert len(device.batches()) <= sent + 7, "five windows at once, and none again"
        assert device.kinds().count("store-damaged") == 1, "the disk's trouble is told once"
    finally:
        Stubborn.stuck = False
    device.run(until=lambda one: one.agent.store.outbox.count() == 0, turns=800)
    assert not device.agent.telemetry.gone
