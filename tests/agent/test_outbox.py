"""The outbox, with the standard library's SQLite on a real disk."""

from pathlib import Path

import pytest

from edgefleet_agent.store.disk import Disk
from edgefleet_agent.store.outbox import Outbox, key_of, merge_windows
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_protocol.telemetry import ModelWindow, Window


def window(number: int, boot: str = "boot", requests: int = 3) -> Window:
    builder = SketchBuilder()
    for _ in range(requests):
        builder.add(0.01 * (number + 1))
    part = ModelWindow(
        model="fashion",
        release="fashion/1",
        release_sha256="0" * 64,
        variant="small",
        requests=requests,
        latency=builder.build(),
    )
    return Window(start_s=60.0 * number, seconds=60, boot=boot, started_monotonic_s=60.0 * number, models=(part,))


def test_what_was_stored_comes_back_in_order_after_the_agent_ended(tmp_path: Path) -> None:
    first = Outbox(Disk(), tmp_path)
    assert first.add([window(0), window(1)]) and first.add([window(2)])
    first.close()
    second = Outbox(Disk(), tmp_path)
    assert second.oldest(10) == [window(0), window(1), window(2)]
    second.remove([key_of(window(1))])
    assert second.oldest(10) == [window(0), window(2)]
    assert second.count() == 2


def test_a_window_that_is_stored_twice_is_there_once(tmp_path: Path) -> None:
    outbox = Outbox(Disk(), tmp_path)
    outbox.add([window(0)])
    outbox.add([window(0), window(1)])
    assert outbox.count() == 2


def test_nothing_is_written_while_there_is_nothing_to_store(tmp_path: Path) -> None:
    outbox = Outbox(Disk(), tmp_path)
    assert outbox.oldest(10) == [] and outbox.count() == 0
    outbox.remove([("boot", 1.0)])
    assert list(tmp_path.iterdir()) == []


def test_when_it_is_full_neighbours_are_merged_and_counted_and_no_request_is_lost(tmp_path: Path) -> None:
    outbox = Outbox(Disk(), tmp_path, max_rows=5)
    outbox.add(window(number) for number in range(20))
    assert outbox.count() == 5
    assert outbox.lost() == 15
    outbox.close()
    assert Outbox(Disk(), tmp_path).lost() == 15, "it is counted for good"
    kept = outbox.oldest(10)
    assert sum(one.models[0].requests for one in kept) == 60
    assert sum(one.models[0].latency.count for one in kept) == 60
    assert sum(one.seconds for one in kept) == 20 * 60


def test_its_bytes_are_bounded_and_its_space_is_given_back_when_it_is_empty(tmp_path: Path) -> None:
    outbox = Outbox(Disk(), tmp_path, max_bytes=100_000)
    for start in range(0, 600, 60):
        outbox.add(window(number) for number in range(start, start + 60))
    kept = outbox.oldest(1000)
    assert sum(one.seconds for one in kept) == 600 * 60 and len(kept) < 400, "merged, and nothing dropped"
    assert 100_000 < (tmp_path / "outbox.db").stat().st_size < 250_000
    outbox.remove(key_of(one) for one in kept)
    assert (tmp_path / "outbox.db").stat().st_size < 20_000 and not outbox.problems


def test_only_when_all_is_merged_the_oldest_go_and_both_are_counted(tmp_path: Path) -> None:
    outbox = Outbox(Disk(), tmp_path, max_rows=3)
    for start in range(0, 300, 60):
        outbox.add(window(number) for number in range(start, start + 60))
    kept = outbox.oldest(10)
    assert [one.seconds for one in kept] == [3600] * 3
    assert [one.start_s for one in kept] == [60 * 120, 60 * 180, 60 * 240]
    assert outbox.lost() == 297


def test_nothing_is_merged_into_a_window_that_is_under_way(tmp_path: Path) -> None:
    outbox = Outbox(Disk(), tmp_path, max_rows=3)
    outbox.add(window(number) for number in range(3))
    under_way = frozenset([key_of(window(0)), key_of(window(1))])
    outbox.add([window(3), window(4)], under_way)
    outbox.remove(under_way)
    assert sum(one.models[0].requests for one in outbox.oldest(10)) == 9, "what came after is still here"


def test_windows_of_two_boots_or_hours_apart_are_never_merged() -> None:
    assert merge_windows(window(0, "a"), window(1, "b")) is None
    assert merge_windows(window(0), window(61)) is None


@pytest.mark.parametrize("damage", [b"not a database at all" * 50, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_damaged_database_is_set_aside_once_and_said(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "outbox.db").write_bytes(damage)
    outbox = Outbox(Disk(), tmp_path)
    assert outbox.add([window(0)])
    assert outbox.problems and outbox.oldest(5) == [window(0)]
    assert (tmp_path / "outbox.db.bad").read_bytes() == damage
