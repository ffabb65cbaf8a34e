"""A rollout's own bounds: what a region may ask of its devices."""

import json

import pytest

from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.errors import BadDocument
from edgefleet_protocol.rollout import DeviceAssignment, Rollout
from tests.protocol.sample import assignment, digest, rollout

STAGE = {"percent": 10.0}


def changed(*path: object, to: object) -> bytes:
    """The JSON of a rollout with the value at `path` replaced."""
    whole = at = json.loads(encode(rollout(assignment())))
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = to
    return json.dumps(whole).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    (
        (("region",), "eu/west"),
        (("serial",), -1),
        (("serial",), 2**53 + 1),
        (("policy",), {"objective": "beauty"}),
        (("policy",), {"battery_floor_percent": 101.0}),
        (("policy",), {"telemetry_interval_s": 0.5}),
        (("assignments", 0, "stages"), []),
        (("assignments", 0, "stages"), [STAGE] * 33),
        (("assignments", 0, "stages"), [{"percent": 100.1}]),
        (("assignments", 0, "stages"), [{"percent": -1}]),
        (("assignments", 0, "stages"), [{"percent": 10, "gate": {"max_failed_percent": 101}}]),
        (("assignments", 0, "stage"), 32),
        (("assignments", 0, "stage"), -1),
        (("assignments", 0, "deadline_s"), 0),
        (("assignments", 0, "probation"), {"seconds": -1}),
        (("assignments", 0, "probation"), {"max_error_percent": 200}),
        (("assignments", 0, "audience"), {"tags": ["a"] * 33}),
        (("assignments", 0, "audience"), {"tags": ["A"]}),
        (("assignments", 0, "audience"), {"hardware": ["h" * 65]}),
        (("assignments", 0, "release"), {"path": "releases/fashion/3.json", "sha256": "0"}),
        (("assignments", 0, "release"), {"path": "p" * 201, "sha256": digest("x")}),
        (("assignments",), [json.loads(encode(rollout(assignment())))["assignments"][0]] * 65),
    ),
)
def test_a_value_out_of_its_bounds_is_refused(path, value):
    with pytest.raises(BadDocument):
        decode(changed(*path, to=value), Rollout)


def test_an_assignment_says_least_and_means_everyone_at_once():
    data = changed(
        "assignments", to=[{"model": "fashion", "release": {"path": "releases/fashion/3.json", "sha256": digest("x")}}]
    )
    (given,) = decode(data, Rollout).assignments
    assert given.percent == 100.0
    assert (given.audience.tags, given.audience.hardware) == ((), ())


@pytest.mark.parametrize("changes", ({"number": 0}, {"region": ""}, {"tags": ["a"] * 33}, {"device": "a/b"}))
def test_a_device_assignment_out_of_its_bounds_is_refused(changes):
    whole = json.loads(encode(DeviceAssignment(device="pi-7", number=1, region="eu-west")))
    with pytest.raises(BadDocument):
        decode(json.dumps(whole | changes).encode(), DeviceAssignment)
