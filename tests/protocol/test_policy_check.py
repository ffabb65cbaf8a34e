"""Contradictions in a policy are named with both values; a sound one passes."""

import pytest

from edgefleet_protocol.policy_check import BadPolicy, check_policy, longest_wait_s
from edgefleet_protocol.rollout import Assignment, Governor, OpenHours, Policy, ReleaseRef

NIGHT = OpenHours(start="22:00", end="04:00")
WEEKLY = OpenHours(start="22:00", end="04:00", days=("sunday",))


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Policy(windows=(OpenHours(start="02:00", end="02:00"),)), "starts and ends at 02:00"),
        (Policy(windows=(OpenHours(start="02:00", end="03:00", days=("monday", "monday")),)), "a day twice"),
        (Policy(download="in-window"), "there is no window"),
        (Policy(timezone="UTC"), "no window to read by it"),
        (Policy(governor=Governor()), "no reason to move"),
        (Policy(max_temperature_c=70, governor=Governor(max_temperature_c=80)), "above 80 °C, and above 70 °C"),
        (Policy(governor=Governor(battery_floor_percent=95)), "95 + 10 %"),
        (Policy(telemetry_fields=("heat", "smell")), "names smell; the groups are cpu"),
        (Policy(telemetry_fields=("none", "heat")), "says none and heat"),
        (Policy(min_accuracy=95.0), "min_accuracy is 95, and accuracies are shares from 0 to 1"),
        (Policy(governor=Governor(throttled=True, min_accuracy=-0.1)), "governor.min_accuracy is -0.1"),
        (Policy(latency_budget_s=0.0), "latency_budget_s is 0"),
        (Policy(battery_floor_percent=30, governor=Governor(battery_floor_percent=20)), "of 20 %, and below 30 %"),
        (Policy(min_accuracy=0.9, governor=Governor(throttled=True, min_accuracy=0.8)), "0.8 and the policy's own 0.9"),
    ],
)
def test_a_contradiction_is_refused_with_both_values(policy: Policy, words: str) -> None:
    with pytest.raises(BadPolicy, match=words.replace("+", "[+]")):
        check_policy(policy)


def test_a_deadline_that_may_pass_before_a_window_opens_is_a_contradiction() -> None:
    ref = ReleaseRef(path="fashion/1.json", sha256="ab" * 32)
    check_policy(Policy(windows=(NIGHT,)), [Assignment(model="fashion", release=ref)])
    with pytest.raises(BadPolicy, match="a device may wait 583200 s for a window"):
        check_policy(Policy(windows=(WEEKLY,)), [Assignment(model="fashion", release=ref)])
    assert longest_wait_s((NIGHT,)) == 18 * 3600 and longest_wait_s(()) == 0


def test_a_sound_policy_passes() -> None:
    check_policy(Policy())
    check_policy(Policy(windows=(NIGHT,), timezone="Europe/Berlin", governor=Governor(max_temperature_c=80)))
