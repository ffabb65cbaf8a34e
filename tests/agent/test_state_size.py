"""The state of a device fits into one message, whatever happened to it."""

import math

import pytest

from edgefleet_agent.hands.measured import measured
from edgefleet_agent.live import Tally
from edgefleet_agent.seams import Served, TrialReport
from edgefleet_agent.state_size import fitted
from edgefleet_agent.steps import NoteTrial
from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.messages import MAX_MESSAGE_BYTES, DeviceState, Failure, Measured, ModelState, Running
from edgefleet_protocol.sketch import Sketch
from tests.fakes.device import package
from tests.fakes.probe import PI4

SHA = "a" * 64


def state(models: int, text: str, failures: int = 16, rows: int = 8) -> DeviceState:
    """Return a state as full as the facts of a device can make it."""
    running = Running(release="m/1", release_sha256=SHA, variant="int8", variant_sha256=SHA, since_s=1.0, proven=True)
    one = [
        ModelState(
            model=f"model-{number}",
            phase="failed",
            why=text,
            wanted="m/2",
            wanted_sha256=SHA,
            running=running,
            previous=running,
            chosen="int8",
            chosen_why=text,
            measured=tuple(
                Measured(release="m/1", variant=f"v{at}", latency_p50_s=0.1, latency_p95_s=0.2) for at in range(rows)
            ),
            failures=tuple(
                Failure(release="m/2", release_sha256=SHA, variant=f"v{at}", stage="trial", reason=text, at_s=float(at))
                for at in range(failures)
            ),
        )
        for number in range(models)
    ]
    return DeviceState(
        device="pi-1",
        session=1,
        boot="b",
        at_s=1.0,
        agent_version="0.1.0",
        hardware=PI4,
        trust_problem=text,
        models=tuple(one),
    )


@pytest.mark.parametrize("models", [1, 2, 8, 32, 64])
@pytest.mark.parametrize("character", ["x", "é", "雪", "🜂", "\x01", '"'])
def test_a_state_full_of_long_words_fits_and_can_be_read(models: int, character: str) -> None:
    full = state(models, character * 2000)
    small = fitted(full)
    data = encode(small)
    assert len(data) <= MAX_MESSAGE_BYTES
    assert decode(data, DeviceState) == small
    assert [(row.model, row.running, row.wanted_sha256, row.phase) for row in small.models] == [
        (row.model, row.running, row.wanted_sha256, row.phase) for row in full.models
    ]


def test_what_goes_first_is_the_oldest() -> None:
    small = fitted(state(3, "x" * 2000))
    for row in small.models:
        assert 0 < len(row.failures) < 16 and row.failures[-1].variant == "v15"
        assert row.why == "x" * 2000


def test_a_state_that_fits_is_left_alone() -> None:
    one = state(2, "short", failures=1)
    assert fitted(one) is one


def test_more_models_than_a_state_can_name_leave_out_those_that_nobody_wishes_for() -> None:
    full = state(70, "short", failures=0, rows=0)
    rows = [
        ModelState(model=row.model, phase="idle", why="") if at % 5 == 0 else row for at, row in enumerate(full.models)
    ]
    small = fitted(DeviceState(device="pi-1", session=1, boot="b", at_s=1.0, agent_version="0.1.0", models=tuple(rows)))
    assert decode(encode(small), DeviceState) == small
    assert sum(row.phase != "idle" for row in small.models) == 56


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, -1.0, 1e12])
def test_a_number_that_is_none_never_goes_into_a_document(number: float) -> None:
    release = package(1).release
    step = NoteTrial(release, SHA, release.variants[0], "")
    assert measured(step, TrialReport(True, "", number, 0.1)) is None
    assert measured(step, TrialReport(True, "", 0.1, number)) is None


def test_counts_that_a_worker_made_up_stay_within_what_a_window_can_say() -> None:
    tally = Tally()
    tally.add(Served(-5, 2**60, Sketch(), None, None))
    assert (tally.requests, tally.errors) == (0, 2**53)
