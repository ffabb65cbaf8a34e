"""The next move of a rollout, as a table; and what each device is to it."""

import msgspec
import pytest

from edgefleet_protocol.rollout import Audience, Gate
from edgefleet_server.rollouts.decide import decide
from edgefleet_server.rollouts.evidence import weigh
from edgefleet_server.rollouts.gates import tally
from edgefleet_server.store.devices import Device
from edgefleet_server.store.rollouts import Record
from tests.fakes.scripted_device import PI4, ZERO

from .records import NEW, OLD, assignment, device, record
from .releases import release
from .test_gates import rows

NOW = 1100.0
LATE = 1000.0 + 600.0 + 1.0


@pytest.mark.parametrize(
    ("facts", "counts", "elsewhere", "now", "kind", "words"),
    [
        (record(), {"proven": 2}, 2, NOW, "open", "2 of 2 proven"),
        (record(), {"proven": 1, "under_way": 1}, 1, NOW, "wait", "waits for under_way-0"),
        (record(stage=1), {"proven": 2}, 2, NOW, "complete", "stage 2 of 2 (100 %): 2 of 2 proven"),
        (record(stage=1), {"proven": 2, "offline": 1}, 2, NOW, "complete", "1 outstanding"),
        (record(), {"proven": 5, "failed": 1}, 5, NOW, "go-back", "1 of 6 failed, 17 % where 0 % may"),
        (record(stage=1), {"failed": 1}, 0, NOW, "go-back", "failed-0 (why 0)"),
        (record(), {}, 0, NOW, "wait", "nothing is proven by it; it waits for one that comes"),
        (record(), {}, 0, NOW, "wait", "To go on all the same: edgefleet rollout next eu-west"),
        (record(), {}, 2, LATE, "pause", "it is for no device of the region"),
        (record(stage=1), {}, 0, NOW, "wait", "no device of the region is meant yet"),
        (record(stage=1), {}, 0, LATE, "pause", "no evidence to go on with"),
        (record(), {"offline": 2}, 0, NOW, "wait", "no device of this stage can prove it now"),
        (record(), {"offline": 2}, 0, LATE, "pause", "no evidence"),
        (record(stage=1), {"offline": 2}, 1, NOW, "complete", "2 outstanding"),
        (record(status="paused"), {"proven": 2}, 2, NOW, "wait", "as it was"),
        (record(status="paused"), {"proven": 2, "failed": 1}, 2, NOW, "go-back", "failed"),
        (record(status="complete", stage=1), {"failed": 2}, 0, NOW, "wait", "as it was"),
        (record(status="gone-back"), {"proven": 2}, 2, NOW, "wait", "as it was"),
        (record(gate=Gate(max_failed_percent=50)), {"proven": 1, "failed": 1}, 1, NOW, "open", "1 of 1 proven"),
    ],
)
def test_the_next_move_follows_from_the_facts(
    facts: Record, counts: dict[str, int], elsewhere: int, now: float, kind: str, words: str
) -> None:
    move = decide(facts, tally(rows(**counts)), elsewhere, now)
    assert (move.kind, words in move.why) == (kind, True), move


@pytest.mark.parametrize(
    ("one", "now", "standing", "words"),
    [
        (device(running=NEW, proven=True), NOW, "proven", "runs fp32"),
        (device(running=NEW, proven=False, wanted=NEW), NOW, "under way", "trying fp32"),
        (device(running=OLD, proven=True, wanted=NEW), NOW, "under way", "trying fp32"),
        (device(wanted=NEW, failed=NEW), NOW, "failed", "fp32 failed in trial: answers differ"),
        (device(running=NEW, proven=True, failed=NEW), NOW, "proven", "runs fp32"),
        (device(wanted=NEW, failed=OLD), NOW, "under way", "trying"),
        (device(wanted=NEW), LATE, "failed", "not proven 10 minutes after it was admitted"),
        (device(wanted=NEW, first_seen_s=1500.0), LATE, "under way", "trying"),
        (device(wanted=NEW, online=False), NOW, "under way", "trying"),
        (device(wanted=NEW, online=False), LATE, "failed", "not proven"),
        (device(online=False, last_seen_s=NOW - 10), NOW, "away", "silent for less than two minutes"),
        (device(online=False, last_seen_s=NOW - 1000), NOW, "offline", "offline for 17 minutes"),
        (device(online=False, last_seen_s=None), NOW, "offline", "offline"),
        # Its will was lost with its broker: silence says what presence does not.
        (device(online=True, last_seen_s=NOW - 1000), NOW, "offline", "offline for 17 minutes"),
        # Windows of a minute come five at once, so that five minutes of silence are in good order.
        (device(online=True, last_seen_s=NOW - 400), NOW, "under way", "has not answered"),
        (device(online=True, last_seen_s=NOW - 430), NOW, "offline", "offline for 7 minutes"),
        (device(online=False, last_seen_s=NOW - 30 * 86400), LATE, "offline", "offline for 30 days"),
        (device(said=False), NOW, "under way", "has not answered yet"),
        (device(trust_problem="timestamp expired"), NOW, "under way", "trust: timestamp expired"),
        (device(trust_problem="expired", wanted=NEW), NOW, "under way", "trying: trying fp32; trust: expired"),
        (
            device(trust_problem="timestamp expired", last_seen_s=LATE),
            LATE,
            "failed",
            "after it was admitted; trust: timestamp expired",
        ),
        (device(tags=("frozen",), failed=NEW), NOW, "frozen", "tagged frozen"),
        (
            device(hardware=msgspec.structs.replace(PI4, runtimes=())),
            NOW,
            "left out",
            "onnxruntime, which is not installed",
        ),
    ],
)
def test_what_a_device_is_to_a_rollout(one: Device, now: float, standing: str, words: str) -> None:
    (found,) = weigh(record(stage=1), release(), [one], now, offline_after_s=120.0)
    assert (found.standing, words in found.why) == (standing, True), found


def test_a_device_outside_the_audience_or_region_is_no_part_of_it() -> None:
    facts = record(stage=1)
    only_zero = msgspec.structs.replace(facts.assignment, audience=Audience(hardware=("pi-zero-2-w",)))
    from dataclasses import replace

    narrowed = replace(facts, assignment=only_zero)
    fleet = [device("pi"), device("zero", hardware=ZERO), device("far", region="ap-south")]
    found = weigh(narrowed, release(), fleet, NOW, 120.0)
    assert [(row.device, row.standing) for row in found] == [("pi", "outside"), ("zero", "under way")]


def test_a_stage_admits_by_the_devices_own_number() -> None:
    fleet = [device(f"dev-{n}", running=NEW, proven=True) for n in range(200)]
    narrow = {row.device for row in weigh(record(stage=0), release(), fleet, NOW, 120.0) if row.standing == "proven"}
    assert 60 < len(narrow) < 140


def test_a_release_that_ran_already_says_that_its_proof_is_from_before() -> None:
    again = record(stage=1, previous=assignment(NEW))
    (found,) = weigh(again, release(), [device(running=NEW, proven=True)], NOW, 120.0)
    assert found.why == "runs fp32, as before this rollout"
