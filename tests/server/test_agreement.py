"""How two releases agree on the same golden inputs, from their signed answers."""

from array import array
from collections.abc import Callable, Sequence

import msgspec

from edgefleet_protocol.manifest import FileEntry, Release, TensorFile
from edgefleet_protocol.rollout import Gate, NotWorse
from edgefleet_server.rollouts.agreement import agreement
from edgefleet_server.rollouts.compare import compare
from edgefleet_server.rollouts.orders import Order
from tests.fakes.repository import FakeRepository

from .conftest import MakeServer
from .fleet_in_store import WEST, make_fleet
from .releases import digest, release

SAME = digest(7)
ONLY = NotWorse(latency_percent=None, error_points=None, agreement_percent=75.0)


def answering(version: int, *tops: int, width: int = 3, inputs: str = SAME) -> tuple[Release, bytes]:
    """A release whose largest answers are at these places, and the file of its answers."""
    made = release(version)
    rows = array("f")
    for top in tops:
        rows.extend(1.0 if place == top else 0.5 for place in range(width))
    output = TensorFile(name="y", datatype="FP32", shape=(len(tops), width), file="golden/out.f32")
    variants = tuple(
        msgspec.structs.replace(row, golden=msgspec.structs.replace(row.golden, outputs=(output,)))
        for row in made.variants
    )
    files = tuple(
        FileEntry(name=row.name, bytes=row.bytes, sha256=inputs, chunks=row.chunks)
        if row.name == "golden/in.f32"
        else row
        for row in made.files
    )
    return msgspec.structs.replace(made, variants=variants, files=files), rows.tobytes()


def reader(*known: tuple[Release, bytes]) -> Callable[[Release, str], bytes | None]:
    by_name: dict[str, bytes] = {made.name: data for made, data in known}
    return lambda made, name: by_name.get(made.name)


def share(old: Sequence[int], new: Sequence[int]) -> float | None:
    one, two = answering(1, *old), answering(2, *new)
    return agreement(one[0], two[0], reader(one, two)).share


def test_it_is_the_share_of_equal_first_answers() -> None:
    assert share([0, 1, 2, 1], [0, 1, 2, 1]) == 1.0
    assert share([0, 1, 2, 1], [0, 1, 2, 0]) == 0.75


def test_what_cannot_be_compared_says_why() -> None:
    one, other = answering(1, 0, 1), answering(2, 0, 1, inputs=digest(8))
    found = agreement(one[0], other[0], reader(one, other))
    assert (found.share, found.why) == (None, "fashion/2 has other golden inputs than fashion/1")
    longer = answering(2, 0, 1, 2)
    assert agreement(one[0], longer[0], reader(one, longer)).share is None
    assert agreement(one[0], answering(2, 0, 1)[0], reader(one)).share is None, "its answers cannot be read"
    single = answering(1, 0, 0, width=1)
    assert "no classes" in agreement(single[0], single[0], reader(single)).why


def test_a_model_that_answers_otherwise_is_worse_before_any_device_served_it() -> None:
    one, two = answering(1, 0, 1, 2, 1), answering(2, 0, 1, 0, 0)
    found = compare((), ONLY, agreement(one[0], two[0], reader(one, two)))
    assert found.result == "worse"
    assert found.why == (
        "agreement with the model before is worse: large answers 50.0% of 4 golden inputs as large of fashion/1 does, where 75% must"
    )
    assert compare((), ONLY).result == "too little"


def test_the_golden_answers_are_read_from_the_chunks_that_are_signed(
    make_server: MakeServer, repo: FakeRepository
) -> None:
    """The two releases of the tests have other golden inputs, so nobody can say; against itself a release agrees."""
    fleet = make_fleet(make_server, repo, 3)
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,)), "ana")
    fleet.switch("fashion/1")
    fleet.turn()
    gate = Gate(not_worse=ONLY)
    fleet.server.controller.begin(Order("fashion/1", regions=(WEST,), gate=gate, force=True), "ana")
    (agreed,) = fleet.server.controller.found(fleet.record).findings
    assert (agreed.metric, agreed.devices) == ("agreement", 8), "read from the chunks"
    fleet.server.controller.begin(Order("fashion/2", regions=(WEST,), gate=gate), "ana")
    (other,) = fleet.server.controller.found(fleet.record).findings
    assert (other.result, other.figure) == ("too little", "fashion/2 has other golden inputs than fashion/1")
    fleet.server.database.close()
