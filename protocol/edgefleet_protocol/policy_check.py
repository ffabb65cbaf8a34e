"""Policies that contradict themselves: refused where they are made, in words. A device is not harmed by one that slips through."""

from collections.abc import Iterable

from .errors import ProtocolError
from .leaving import GROUPS, unknown
from .rollout import DAYS, Assignment, Governor, OpenHours, Policy

DAY_S = 86400.0
_ABOVE_ZERO = ("latency_budget_s", "memory_budget_bytes", "download_budget_bytes", "bandwidth_bytes_per_s")


class BadPolicy(ProtocolError):
    """A policy that cannot mean what it says. The message names each contradiction."""


def check_policy(policy: Policy, assignments: Iterable[Assignment] = ()) -> None:
    """Raise BadPolicy when `policy` contradicts itself, or the deadlines of `assignments`."""
    if found := contradictions(policy, assignments):
        raise BadPolicy("; ".join(found))


def contradictions(policy: Policy, assignments: Iterable[Assignment] = ()) -> tuple[str, ...]:
    """Return what disagrees in `policy`, each with both values; nothing when it is sound."""
    found: list[str] = []
    for hours in policy.windows:
        if hours.start == hours.end:
            found.append(
                f"a window starts and ends at {hours.start}: for the whole day write 00:00 to 23:59, or no window"
            )
        if len(set(hours.days)) != len(hours.days):
            found.append(f"a window names a day twice: {', '.join(hours.days)}")
    if policy.download == "in-window" and not policy.windows:
        found.append('download is "in-window" and there is no window')
    if policy.timezone is not None and not policy.windows:
        found.append(f"timezone is {policy.timezone} and there is no window to read by it")
    if foreign := unknown(policy.telemetry_fields):
        found.append(f"telemetry_fields names {', '.join(foreign)}; the groups are {', '.join(GROUPS)}")
    if "none" in policy.telemetry_fields and len(policy.telemetry_fields) > 1:
        rest = ", ".join(name for name in policy.telemetry_fields if name != "none")
        found.append(f"telemetry_fields says none and {rest}")
    found += [
        f"{name} is {value:g}, which nothing can keep: leave it out, or give a value above 0"
        for name in _ABOVE_ZERO
        if (value := getattr(policy, name)) is not None and value <= 0
    ]
    for name, accuracy in (
        ("min_accuracy", policy.min_accuracy),
        ("governor.min_accuracy", policy.governor.min_accuracy if policy.governor is not None else None),
    ):
        if accuracy is not None and not 0 <= accuracy <= 1:
            found.append(f"{name} is {accuracy:g}, and accuracies are shares from 0 to 1: 95 % is 0.95")
    if policy.governor is not None:
        found += _governor(policy.governor, policy)
    if policy.windows and not found:
        gap = longest_wait_s(policy.windows)
        found += [
            f"{row.release.path} has a deadline of {row.deadline_s:g} s, and a device may wait {gap:g} s for a window and "
            f"{row.probation.seconds:g} s on probation"
            for row in assignments
            if row.deadline_s <= gap + row.probation.seconds
        ]
    found += [
        f"{row.release.path} has a deadline of {row.deadline_s:g} s and a probation of {row.probation.seconds:g} s"
        for row in assignments
        if not policy.windows and row.deadline_s <= row.probation.seconds
    ]
    return tuple(found)


def _governor(governor: Governor, policy: Policy) -> list[str]:
    found = []
    heat, stop = governor.max_temperature_c, policy.max_temperature_c
    if heat is None and governor.battery_floor_percent is None and not governor.throttled and not _memory(governor):
        found.append("the governor has no reason to move: give it a limit, or leave it out")
    if heat is not None and stop is not None and heat > stop and not governor.prefetch:
        found.append(
            f"the governor steps down above {heat:g} °C, and above {stop:g} °C nothing is fetched or tried: "
            "lower the first, or set governor.prefetch"
        )
    floor, margin = governor.battery_floor_percent, governor.battery_margin_percent
    least = policy.battery_floor_percent
    if floor is not None and least is not None and floor < least and not governor.prefetch:
        found.append(
            f"the governor steps down below a battery of {floor:g} %, and below {least:g} % nothing is fetched or tried: "
            "raise the first, or set governor.prefetch"
        )
    if floor is not None and floor + margin > 100:
        found.append(f"the governor climbs back above a battery of {floor:g} + {margin:g} %, which no battery has")
    if (
        governor.min_accuracy is not None
        and policy.min_accuracy is not None
        and governor.min_accuracy < policy.min_accuracy
    ):
        found.append(
            f"governor.min_accuracy is {governor.min_accuracy:g} and the policy's own {policy.min_accuracy:g} is higher"
        )
    return found


def _memory(governor: Governor) -> bool:
    return governor.min_memory_available_bytes is not None or governor.max_memory_pressure_percent is not None


def longest_wait_s(windows: Iterable[OpenHours]) -> float:
    """Return for how long all of `windows` may be shut at a stretch, in seconds; changes of the clock not counted."""
    spans: list[tuple[float, float]] = []
    for hours in windows:
        start, end = seconds_of(hours.start), seconds_of(hours.end)
        length = (end - start) % DAY_S or DAY_S
        spans += [
            (index * DAY_S + start, index * DAY_S + start + length)
            for index, day in enumerate(DAYS)
            if day in (hours.days or DAYS)
        ]
    if not spans:
        return 0.0
    week = 7 * DAY_S
    spans.sort()
    longest, until = 0.0, spans[0][1]
    for start, end in [*spans[1:], (spans[0][0] + week, spans[0][1] + week)]:
        longest, until = max(longest, start - until), max(until, end)
    return longest


def seconds_of(time: str) -> float:
    """Return `22:30` as seconds since midnight."""
    hours, minutes = time.split(":")
    return 3600.0 * int(hours) + 60.0 * int(minutes)
