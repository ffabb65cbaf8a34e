"""The window over chunks: how many are asked for, when they are asked for again, and what the ceiling does."""

import itertools

from edgefleet_agent.link.window import MAX_TOPICS, Window
from edgefleet_protocol.chunks import MAX_PAYLOAD_BYTES
from edgefleet_protocol.manifest import Chunk


def chunks(count: int, size: int = MAX_PAYLOAD_BYTES) -> list[Chunk]:
    return [Chunk(sha256=f"{number:064x}", bytes=size - 1, wire_bytes=size) for number in range(count)]


def run(window: Window, bytes_per_s: float, until: float, start: float = 0.0) -> tuple[float, int]:
    """Serve every subscription in order over a link of that rate; return when it ended and the most bytes under way."""
    now, most, queue = start, 0, []
    while now < until:
        moves = window.moves(now)
        queue += list(moves.subscribe)
        under_way = sum(window._asked[name].chunk.wire_bytes for name in queue)
        most = max(most, under_way)
        if queue:
            name = queue.pop(0)
            now += MAX_PAYLOAD_BYTES / bytes_per_s
            window.got(name, MAX_PAYLOAD_BYTES, now)
        else:
            due = window.due(now)
            if due is None:
                return now, most
            now = max(due, now + 0.001)
    return now, most


def test_it_starts_with_four_and_never_asks_for_more_than_sixteen_chunks_of_full_size() -> None:
    window = Window()
    window.want(chunks(200))
    assert len(window.moves(0.0).subscribe) == 4
    window.forget()
    ended, most = run(window, bytes_per_s=50e6, until=1000)
    assert most <= 16 * MAX_PAYLOAD_BYTES
    assert ended < 200 * MAX_PAYLOAD_BYTES / 50e6 + 1


def test_on_a_slow_link_no_more_than_two_chunks_are_under_way_so_that_commands_get_through() -> None:
    window = Window()
    window.want(chunks(60))
    run(window, bytes_per_s=16_000, until=60)
    _, most = run(window, bytes_per_s=16_000, until=1000, start=60)
    assert most <= 2 * MAX_PAYLOAD_BYTES


def test_small_chunks_are_bounded_by_topics() -> None:
    window = Window()
    window.want(chunks(500, size=100))
    assert len(window.moves(0.0).subscribe) == MAX_TOPICS


def test_each_chunk_is_unsubscribed_once_it_came_and_asked_for_once() -> None:
    window = Window()
    window.want(chunks(3))
    asked = window.moves(0.0).subscribe
    for name in asked:
        window.got(name, MAX_PAYLOAD_BYTES, 1.0)
    moves = window.moves(1.0)
    assert moves.unsubscribe == asked and moves.subscribe == ()
    assert window.due(1.0) is None


def test_silence_is_asked_again_after_30_s_and_told_as_need_after_two_tries_and_then_ever_more_seldom() -> None:
    window = Window()
    window.want(chunks(1))
    needs, asks, now = [], [], 0.0
    while now < 2000:
        moves = window.moves(now)
        asks += [now] * len(moves.subscribe)
        needs += [now] * len(moves.need)
        due = window.due(now)
        assert due is not None and due > now - 0.001
        now = max(due, now + 0.001)
    assert asks[0] == 0 and 30 <= asks[1] < 31
    assert 60 <= needs[0] < 61 and needs[0] == asks[2]
    gaps = [later - earlier for earlier, later in itertools.pairwise(needs)]
    assert gaps == sorted(gaps) and gaps[-1] > 300


def test_a_window_with_less_patience_asks_sooner_and_a_slow_link_gets_up_to_ten_times_as_long() -> None:
    window = Window(patience_s=5.0)
    window.want(chunks(2))
    assert len(window.moves(0.0).subscribe) == 2
    assert window.moves(4.9).subscribe == () and len(window.moves(5.0).subscribe) == 2
    name = chunks(1)[0].sha256
    window.got(name, MAX_PAYLOAD_BYTES, 5.0 + MAX_PAYLOAD_BYTES / 500)
    assert window.timeout_s == 50.0


def test_the_ceiling_of_the_region_is_kept() -> None:
    window = Window(bytes_per_s_limit=100_000)
    window.want(chunks(50))
    ended, _ = run(window, bytes_per_s=10e6, until=10_000)
    assert 49 * MAX_PAYLOAD_BYTES / 100_000 <= ended <= 52 * MAX_PAYLOAD_BYTES / 100_000


def test_what_is_no_longer_wanted_is_unsubscribed_and_forgotten() -> None:
    window = Window()
    window.want(chunks(8))
    asked = set(window.moves(0.0).subscribe)
    window.want([])
    moves = window.moves(1.0)
    assert set(moves.unsubscribe) == asked and moves.subscribe == ()


def test_a_new_connection_asks_anew_for_what_had_not_come() -> None:
    window = Window()
    window.want(chunks(4))
    first = window.moves(0.0).subscribe
    window.got(first[0], MAX_PAYLOAD_BYTES, 0.5)
    window.forget()
    assert window.moves(1.0).subscribe == first[1:]
