"""Is it a time at which something new may take over? Local time, across midnight and across changes of the clock."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from edgefleet_protocol.rollout import DAYS, OpenHours

LOOK_AHEAD_DAYS = 9
"""More than a week: a window of one day a week is always found."""


@dataclass(frozen=True)
class Opening:
    """Whether a window is open, and until when (seconds since 1970) that lasts; None: for ever, or not to be told."""

    is_open: bool
    until_s: float | None


def opening(windows: Iterable[OpenHours], zone: tzinfo, now_s: float) -> Opening:
    """Return whether one of `windows` is open at `now_s`, and when that changes. No windows at all: always open."""
    rows = tuple(windows)
    if not rows:
        return Opening(True, None)
    spans = sorted(span for hours in rows for span in _spans(hours, zone, now_s))
    until = now_s
    for begins, ends in spans:  # windows that touch are one
        if begins <= until < ends:
            until = ends
    if until > now_s:
        return Opening(True, until)
    return Opening(False, min((begins for begins, _ in spans if begins > now_s), default=None))


def local_words(moment_s: float, zone: tzinfo) -> str:
    """Return a moment as people on the spot read it: `Sunday 02:00 CET`."""
    there = datetime.fromtimestamp(moment_s, zone)
    return f"{DAYS[there.weekday()].capitalize()} {there:%H:%M} {there.tzname() or ''}".strip()


def _spans(hours: OpenHours, zone: tzinfo, now_s: float) -> list[tuple[float, float]]:
    """Return when the window opens and closes, from two days ago to those ahead, in seconds since 1970."""
    today = datetime.fromtimestamp(now_s, zone).date()
    found = []
    for ahead in range(-2, LOOK_AHEAD_DAYS):
        day = today + timedelta(days=ahead)
        if hours.days and DAYS[day.weekday()] not in hours.days:
            continue
        begins = _moment(day, hours.start, zone)[0]
        ends = max(_moment(day if hours.end > hours.start else day + timedelta(days=1), hours.end, zone))
        found.append((begins, ends))
    return found


def _moment(day: date, text: str, zone: tzinfo) -> tuple[float, float]:
    """Return both readings of a time on the wall.

    Twice a year they differ: an hour that comes twice begins at the first and ends with the second; a time that is
    skipped is read as if the clock had not been put forward, so a window within the gap is as long as it says.
    """
    there = datetime.combine(day, time.fromisoformat(text), zone)
    return there.timestamp(), there.replace(fold=1).timestamp()
