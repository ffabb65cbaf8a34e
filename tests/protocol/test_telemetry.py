"""How windows travel together."""

import pytest

from edgefleet_protocol.telemetry import held_back_s


@pytest.mark.parametrize(
    ("interval_s", "most_s"), [(1.0, 1.0), (59.0, 59.0), (60.0, 300.0), (90.0, 300.0), (300.0, 300.0), (3600.0, 3600.0)]
)
def test_a_window_is_held_back_for_five_minutes_at_most_and_not_at_all_where_somebody_watches_or_it_is_longer(
    interval_s: float, most_s: float
) -> None:
    assert held_back_s(interval_s) == most_s
