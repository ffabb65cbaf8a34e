"""What people read of devices."""

from typing import Any

import pytest

from edgefleet_server.cli.device import says


@pytest.mark.parametrize(
    ("trust", "model", "words"),
    [
        (None, None, None),
        ("expired", None, "trust: expired"),
        (None, {"phase": "waiting", "why": "battery at 12 %"}, "battery at 12 %"),
        (None, {"phase": "fetching", "why": "3 of 9 chunks"}, "3 of 9 chunks"),
        (None, {"phase": "proven", "why": "as it should be"}, None),
        ("expired", {"phase": "waiting", "why": "battery"}, "trust: expired; battery"),
    ],
)
def test_a_device_that_is_stuck_says_why_in_the_list(
    trust: str | None, model: dict[str, Any] | None, words: str | None
) -> None:
    assert says({"trust_problem": trust, "alarm": None}, model) == words
