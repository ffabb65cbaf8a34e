"""Large stages open in waves."""

from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.rollout import Assignment
from edgefleet_server.rollouts.evidence import Evidence
from edgefleet_server.rollouts.waves import LEAST, Newcomer, first, newcomers, opening, under_way

from .records import assignment, device


def rows(count: int, offline: frozenset[int] = frozenset()) -> list[Newcomer]:
    return [Newcomer(100 * n / count, n not in offline) for n in range(count)]


def at(opened: float | None, most: int | None = None) -> Assignment:
    import msgspec

    return msgspec.structs.replace(assignment(), opened_percent=opened, max_under_way=most)


def test_a_small_stage_opens_at_once_and_a_large_one_with_its_first_hundred() -> None:
    few, many = ([device(f"d{n}") for n in range(count)] for count in (LEAST, 3 * LEAST))
    assert first(assignment(), few) is None
    opened = first(assignment(), many)
    assert opened is not None
    assert sum(row.number < opened for row in newcomers(assignment(), many)) == LEAST


def test_ten_thousand_devices_take_eight_documents() -> None:
    found, opened, whole = 0, 0.0, rows(10_000)
    while opened is not None:
        wave = opening(at(opened), whole, busy=0)
        assert wave is not None
        opened, found = wave.percent, found + 1  # type: ignore[assignment]
    assert found == 8


def test_the_next_wave_waits_for_those_that_are_under_way() -> None:
    whole = rows(100)
    assert opening(at(10.0, most=10), whole, busy=10) is None
    assert opening(at(10.0, most=10), whole, busy=8) is None, "a document for two devices would be a waste"
    wave = opening(at(10.0, most=10), whole, busy=4)
    assert wave is not None and sum(row.number < (wave.percent or 100) for row in whole) == 16
    assert "16 of the 100 devices of the stage are let in, 10 at once" in wave.why


def test_devices_that_are_away_take_no_place() -> None:
    whole = rows(100, offline=frozenset(range(50)))
    wave = opening(at(0.0, most=10), whole, busy=0)
    assert wave is not None and wave.percent == 60.0


@given(st.integers(1, 400), st.integers(1, 50), st.integers(0, 60), st.floats(0, 100))
def test_a_wave_never_closes_and_never_lets_in_more_than_there_is_room_for(
    count: int, most: int, busy: int, opened: float
) -> None:
    whole = rows(count)
    wave = opening(at(opened, most), whole, busy)
    if wave is not None:
        upto = 100.0 if wave.percent is None else wave.percent
        new = [row for row in whole if opened <= row.number < upto]
        assert upto >= opened
        assert len(new) <= max(most - busy, 0)
        assert new or wave.percent is None


def test_only_devices_that_load_the_broker_are_under_way() -> None:
    assert under_way([Evidence("a", "under way", ""), Evidence("b", "under way", "", serves=True)]) == 1
    assert under_way([Evidence("a", "proven", ""), Evidence("b", "away", "")]) == 0
