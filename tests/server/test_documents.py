"""From records to the region's signed document."""

from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import pytest

from edgefleet_protocol.rollout import Audience, Policy, Rollout
from edgefleet_server.rollouts.documents import base_of, policy, wish
from edgefleet_server.store.rollouts import Record, Status

from .records import NEW, OLD, assignment, record

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BASE = assignment(OLD, 1)
SLOW, FAST = Policy(objective="accuracy"), Policy(objective="latency")


def document(
    records: list[Record], before: Rollout | None = None, listed: tuple[str, ...] = (OLD, NEW)
) -> Rollout | None:
    return wish("eu-west", records, before, Policy(), NOW, listed)


@pytest.mark.parametrize(
    ("facts", "rows"),
    [
        (record(previous=BASE), [(NEW, 50.0), (OLD, 100.0)]),
        (record(previous=BASE, stage=1), [(NEW, 100.0), (OLD, 100.0)]),
        (record(previous=BASE, status="paused"), [(NEW, 50.0), (OLD, 100.0)]),
        (record(previous=BASE, stage=1, status="complete"), [(NEW, 100.0)]),
        (record(previous=BASE, status="gone-back"), [(OLD, 100.0)]),
        (record(), [(NEW, 50.0)]),
        (record(status="gone-back"), []),
        # A rollout that ends at 10 % leaves nine in ten with what they had.
        (record(previous=BASE, stages=(10.0,), status="complete"), [(NEW, 10.0), (OLD, 100.0)]),
    ],
)
def test_the_new_release_by_stage_over_the_old_one_for_everybody(facts: Record, rows: list[tuple[str, float]]) -> None:
    found = document([facts])
    assert found is not None
    assert [(row.release.sha256, row.percent) for row in found.assignments] == rows


def test_nothing_is_signed_when_the_document_before_says_the_same() -> None:
    first = document([record(previous=BASE)])
    assert first is not None and first.serial == 1
    assert document([record(previous=BASE)], first) is None
    second = document([record(previous=BASE, stage=1)], first)
    assert second is not None and second.serial == 2


def test_a_release_that_is_unlisted_leaves_the_document_although_nothing_else_changed() -> None:
    signed = document([record(previous=BASE)])
    assert signed is not None
    revoked = document([record(previous=BASE)], signed, listed=(OLD,))
    assert revoked is not None and revoked.serial == 2
    assert [row.release.sha256 for row in revoked.assignments] == [OLD]
    assert document([record(previous=BASE)], revoked, listed=(OLD,)) is None, "and once only"


def test_another_model_keeps_its_place() -> None:
    other = msgspec.structs.replace(BASE, model="speech")
    before = Rollout(region="eu-west", serial=7, issued=NOW, assignments=(other, BASE))
    found = document([record(previous=BASE)], before)
    assert found is not None
    assert [row.model for row in found.assignments] == ["fashion", "fashion", "speech"]
    assert found.serial == 8


def test_an_older_rollout_that_completes_later_does_not_bring_its_policy_back() -> None:
    older = replace(record(policy=SLOW, status="complete", updated_s=3000.0), id=1, model="other")
    newer = replace(record(policy=FAST, updated_s=2000.0), id=2)
    for records in ([older, newer], [newer, older]):
        assert policy(records, Policy()) == FAST
    assert policy([older, replace(newer, status="gone-back", previous_policy=SLOW)], Policy()) == SLOW


def test_a_release_that_goes_back_takes_its_policy_along() -> None:
    going = record(previous=BASE, policy=FAST, previous_policy=SLOW)
    found = document([going])
    assert found is not None and found.policy == FAST
    back = document([replace(going, status="gone-back")], found)
    assert back is not None and back.policy == SLOW


def test_what_a_new_rollout_goes_over() -> None:
    assert base_of("fashion", None, None) == (None, None)
    running = record(previous=BASE, previous_policy=SLOW, policy=FAST)
    assert base_of("fashion", running, None) == (BASE, SLOW)
    assert base_of("fashion", replace(running, status="gone-back"), None) == (BASE, SLOW)
    complete = replace(running, status="complete")
    assert base_of("fashion", complete, None) == (complete.assignment, FAST)
    narrow = msgspec.structs.replace(complete.assignment, audience=Audience(tags=("lab",)))
    assert base_of("fashion", replace(complete, assignment=narrow), None) == (BASE, SLOW)
    signed = Rollout(region="eu-west", serial=1, issued=NOW, policy=SLOW, assignments=(assignment(), BASE))
    assert base_of("fashion", None, signed) == (BASE, SLOW)


@pytest.mark.parametrize("status", ["running", "gone-back"])
def test_the_way_back_from_a_change_of_interface_may_change_it_back(status: Status) -> None:
    row = record(previous=BASE, status=status)
    accepting = replace(row, assignment=msgspec.structs.replace(row.assignment, accept_interface_change=True))
    found = document([accepting])
    assert found is not None and found.assignments[-1].release.sha256 == OLD
    assert all(one.accept_interface_change for one in found.assignments)
    before = document([row])
    assert before is not None and not any(one.accept_interface_change for one in before.assignments)
