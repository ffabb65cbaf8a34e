"""Windows in local time: across midnight, across changes of the clock, and by days."""

from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest

from edgefleet_agent.rules.windows import opening
from edgefleet_protocol.rollout import OpenHours

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("hours", "now", "is_open", "until"),
    [
        (OpenHours(start="02:00", end="04:00"), "2027-01-15 02:00", True, "2027-01-15 03:00"),
        (OpenHours(start="02:00", end="04:00"), "2027-01-15 03:00", False, "2027-01-16 01:00"),
        (OpenHours(start="22:00", end="05:00"), "2027-01-15 23:30", True, "2027-01-16 04:00"),
        # The day is that of the start: Saturday's window is open on Sunday morning, and Sunday's evening is shut.
        (OpenHours(start="22:00", end="05:00", days=("saturday",)), "2027-01-17 03:00", True, "2027-01-17 04:00"),
        (OpenHours(start="22:00", end="05:00", days=("saturday",)), "2027-01-17 22:00", False, "2027-01-23 21:00"),
        # Put forward on 28 March at 02:00: an hour that is skipped is read as if it had not been.
        (OpenHours(start="02:00", end="02:30"), "2027-03-28 01:10", True, "2027-03-28 01:30"),
        (OpenHours(start="01:00", end="04:00"), "2027-03-28 00:30", True, "2027-03-28 02:00"),
        # Put back on 31 October at 03:00: an hour that comes twice is open twice.
        (OpenHours(start="02:00", end="03:00"), "2027-10-31 00:30", True, "2027-10-31 02:00"),
        (OpenHours(start="02:00", end="03:00"), "2027-10-31 01:30", True, "2027-10-31 02:00"),
    ],
)
def test_a_window_is_read_by_the_clock_on_the_wall(hours: OpenHours, now: str, is_open: bool, until: str) -> None:
    found = opening((hours,), BERLIN, at(now))
    assert (found.is_open, found.until_s) == (is_open, at(until))


def test_no_windows_are_always_open_and_windows_that_touch_are_one() -> None:
    assert opening((), BERLIN, at("2027-01-15 12:00")).is_open
    two = (OpenHours(start="01:00", end="02:00"), OpenHours(start="02:00", end="03:00"))
    assert opening(two, timezone.utc, at("2027-01-15 01:30")).until_s == at("2027-01-15 03:00")
