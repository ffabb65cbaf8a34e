"""A value that does not fit is told by its name, what it was and what it must be, in no library's words."""

from typing import Any

import msgspec
import pytest

from edgefleet_protocol.rollout import Policy
from edgefleet_server.errors import BadRequest
from edgefleet_server.misfit import misfit
from edgefleet_server.rollouts.orders import Order, StageOrder, _check_stages


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"objective": "speed"}, "objective is 'speed' and must be one of accuracy, download, energy, latency, memory"),
        ({"objectives": {"pi4": "speed"}}, "objectives[...] and must be one of accuracy, download, energy, latency, memory"),
        ({"metered": "maybe"}, "metered is 'maybe' and must be one of allow, wait"),
        ({"windows": "night"}, "windows is 'night' and must be a list"),
        ({"windows": [{"start": "25:00", "end": "1:00"}]}, "windows[0].start is '25:00' and must be a time of day, as in 22:30"),
        ({"governor": []}, "governor is [] and must be a table"),
        ({"battery_floor_percent": 101}, "battery_floor_percent is 101 and must be at most 100"),
        ({"quarantine_after": 0}, "quarantine_after is 0 and must be at least 1"),
        ({"timezone": "x" * 65}, f"timezone is '{'x' * 65}' and must have at most 64 characters"),
        ({"timezone": 5}, "timezone is 5 and must be a text in quotes"),
        ({"interfaces": ["**"]}, "interfaces[0] is '**' and must be a network interface, as in eth0, or its beginning, as in wwan*"),
    ],
)  # fmt: skip
def test_a_policy_that_does_not_fit_is_told_in_plain_words(rows: dict[str, Any], said: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(rows, Policy)
    assert misfit(caught.value, rows, Policy) == said


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (StageOrder(percent=5.0, tags=("A B",)), "stage 1: tags[0] is 'A B' and must be 1 to 64 of a-z, 0-9 and -"),
        (StageOrder(devices=("",)), "stage 1: devices[0] is '' and must be 1 to 64 of a-z, 0-9 and -"),
        (StageOrder(percent=5.0, hardware=("x" * 65,)), f"stage 1: hardware[0] is '{'x' * 65}' and must have at most 64"),
        (StageOrder(percent=100.0001), "stages are ['100.0001 %']: write percents above 0 and up to 100"),
    ],
)  # fmt: skip
def test_a_stage_that_does_not_fit_is_told_with_what_it_says(stage: StageOrder, said: str) -> None:
    with pytest.raises(BadRequest) as caught:
        _check_stages(Order(release="fashion/1", stages=(stage,)))
    assert str(caught.value).startswith(said)
