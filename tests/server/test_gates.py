"""The gate of a stage, as a table."""

import pytest

from edgefleet_protocol.rollout import Gate
from edgefleet_server.rollouts.evidence import Evidence, Standing
from edgefleet_server.rollouts.gates import judge, tally


def rows(**counts: int) -> list[Evidence]:
    found: list[Evidence] = []
    for standing, count in counts.items():
        words: Standing = standing.replace("_", " ")  # type: ignore[assignment]
        found += [Evidence(f"{standing}-{n}", words, f"why {n}") for n in range(count)]
    return found


STRICT = Gate()
LOOSE = Gate(max_failed_percent=10, min_proven_percent=80)


@pytest.mark.parametrize(
    ("gate", "counts", "result"),
    [
        (STRICT, {"proven": 3}, "open"),
        (STRICT, {"proven": 2, "under_way": 1}, "wait"),
        (STRICT, {"proven": 2, "away": 1}, "wait"),
        (STRICT, {"proven": 9, "failed": 1}, "broken"),
        (STRICT, {"under_way": 9, "failed": 1}, "broken"),
        (STRICT, {"proven": 2, "offline": 5}, "open"),
        (STRICT, {"proven": 2, "frozen": 5}, "open"),
        (STRICT, {"proven": 2, "left_out": 5, "outside": 40}, "open"),
        (STRICT, {}, "open"),
        (LOOSE, {"under_way": 9, "failed": 1}, "wait"),
        (LOOSE, {"proven": 8, "under_way": 1, "failed": 1}, "open"),
        (LOOSE, {"proven": 7, "under_way": 2, "failed": 1}, "wait"),
        (LOOSE, {"under_way": 8, "failed": 2}, "broken"),
        # Half of a stage frozen: the percents are of the other half.
        (Gate(max_failed_percent=20), {"proven": 4, "failed": 1, "frozen": 5}, "open"),
        (Gate(max_failed_percent=10), {"proven": 4, "failed": 1, "frozen": 5}, "broken"),
        (Gate(max_failed_percent=100), {"failed": 3}, "open"),
    ],
)
def test_a_gate_opens_waits_or_breaks(gate: Gate, counts: dict[str, int], result: str) -> None:
    assert judge(gate, tally(rows(**counts))).result == result


def test_the_reason_names_the_devices_and_stays_short() -> None:
    verdict = judge(STRICT, tally(rows(proven=1, under_way=40, offline=2)))
    assert verdict.why == (
        "1 of 41 proven, 100 % needed; waits for under_way-0 (why 0), under_way-1 (why 1), under_way-2 (why 2) "
        "and 37 more; 2 counted apart: offline-0 (why 0), offline-1 (why 1)"
    )
