"""Which copy of a device speaks. Pure."""

import pytest

from edgefleet_protocol.messages import DeviceState
from edgefleet_server.ingest.lineage import Lineage, Verdict, judge

NOW = 1_800_000_000.0


def say(
    head: str, *before: str, number: int = 1, boot: str = "b", machine: str = "board-1", session: int = 1
) -> DeviceState:
    starts = (*before, head) if head else ()
    return DeviceState(
        device="pi-1", session=session, boot=boot, at_s=1.0, agent_version="0.1.0", machine=machine, starts=starts, number=number if head else 0,
        boots=len(starts),
    )  # fmt: skip


def hear(*states: DeviceState, live: bool = True) -> list[Verdict]:
    """Return what each state is to those before, an hour apart: an alarm does not depend on time."""
    lineage, found = Lineage(), []
    for count, state in enumerate(states):
        verdict = judge(lineage, state, key="k", live=live, now=NOW + 3600 * count)
        lineage = verdict.lineage
        found.append(verdict)
    return found


@pytest.mark.parametrize(
    ("what", "states", "kinds"),
    [
        ("it speaks on", [say("a"), say("a", number=2)], ["first", "same"]),
        ("a reboot", [say("a"), say("b", "a", boot="b2")], ["first", "goes on"]),
        ("starts without a network in between", [say("a"), say("d", "a", "b", "c")], ["first", "goes on"]),
        ("damaged facts, sessions count anew", [say("a", session=9), say("b", "a", session=1)], ["first", "goes on"]),
        ("everything lost, in the same boot", [say("a", session=9), say("n", session=1)], ["first", "anew"]),
        ("reinstalled, twice", [say("a"), say("n"), say("m"), say("m2", "m")], ["first", "anew", "anew", "goes on"]),
        ("a backup put back", [say("a"), say("b", "a"), say("c", "a"), say("d", "a", "c")], ["first", "goes on", "copy", "goes on"]),
        ("said again by the broker", [say("a"), say("a"), say("b", "a"), say("a")], ["first", "again", "goes on", "stale"]),
        ("came late", [say("a", number=5), say("a", number=4)], ["first", "stale"]),
        ("an old agent reboots", [say("", boot="b1"), say("", boot="b2")], ["first", "anew"]),
        ("an old agent is updated", [say("", boot="b1"), say("a", boot="b1")], ["first", "goes on"]),
        ("and put back", [say("", boot="b1"), say("a", boot="b1"), say("", boot="b1", session=3)], ["first", "goes on", "goes on"]),
    ],
)  # fmt: skip
def test_what_is_one_device_raises_no_alarm(what: str, states: list[DeviceState], kinds: list[str]) -> None:
    found = hear(*states)
    assert [verdict.kind for verdict in found] == kinds, what
    assert not any(verdict.alarm for verdict in found), what


@pytest.mark.parametrize(
    ("what", "states"),
    [
        ("two cards with one memory", [say("a", "x", machine="m1"), say("b", "x", machine="m2"), say("a", "x", machine="m1", number=2)]),
        ("the first one goes on after its copy", [say("x", machine="m1"), say("b", "x", machine="m2"), say("x", machine="m1", number=2)]),
        ("cloned before the first start", [say("a", machine="m1"), say("b", machine="m2"), say("a", machine="m1", number=2)]),
        ("both are started anew each time", [say("a", "x"), say("b", "x"), say("a2", "x", "a")]),
        ("the clone came first", [say("b", "x", machine="m2"), say("x", machine="m1", number=7)]),
        ("a running machine was copied", [say("a", machine="m1"), say("a", machine="m2", number=2)]),
        ("old agents on two boards", [say("", boot="b1", session=1), say("", boot="b2"), say("", boot="b1", session=2)]),
    ],
)  # fmt: skip
def test_s13_two_copies_in_turn_raise_it_and_both_are_named(what: str, states: list[DeviceState]) -> None:
    found = hear(*states)
    assert [bool(verdict.alarm) for verdict in found] == [False] * (len(states) - 1) + [True], what
    alarm = found[-1].alarm
    assert alarm is not None
    assert alarm.first.words() in alarm.why and alarm.second.words() in alarm.why
    assert (alarm.first.head, alarm.first.machine) != (
        alarm.second.head,
        alarm.second.machine,
    ) or alarm.first.boot != alarm.second.boot


def test_what_the_broker_remembers_proves_nothing() -> None:
    known = hear(say("a", "x"), say("b", "x"))[-1].lineage
    for state in (say("a", "x", number=9), say("x", number=3)):
        assert judge(known, state, key="k", live=False, now=NOW).kind == "stale"


def test_after_an_alarm_was_cleared_the_one_that_is_left_speaks_on_and_the_other_raises_it_anew() -> None:
    first, second = say("a", "x", machine="m1"), say("b", "x", machine="m2")
    lineage = hear(first, second, say("a", "x", machine="m1", number=2))[-1].lineage
    on = judge(lineage, say("c", "x", "a", machine="m1"), key="k", live=True, now=NOW)
    assert on.kind == "goes on"
    assert judge(on.lineage, say("b", "x", machine="m2", number=2), key="k", live=True, now=NOW).alarm


def test_what_is_remembered_stays_small() -> None:
    lineage = Lineage()
    for count in range(100):
        lineage = judge(lineage, say(f"n{count}"), key="k", live=True, now=NOW).lineage
    assert len(lineage.rows) == 16
