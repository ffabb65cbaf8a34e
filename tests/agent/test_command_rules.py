"""Which commands are obeyed. Pure."""

from dataclasses import replace

import pytest

from edgefleet_agent.rules.command import SKEW_S, Here, refuse
from edgefleet_protocol.messages import MAX_COMMAND_S, Command

NOW = 1_800_000_000.0
HERE = Here(device="pi-1", epoch="e1", number=4, session=9, wall_s=NOW, clock_trusted=True)


def command(**fields: object) -> Command:
    values = {
        "device": "pi-1",
        "number": 5,
        "epoch": "e1",
        "session": 9,
        "expires_s": NOW + MAX_COMMAND_S,
        "action": "ping",
    }
    return Command(**{**values, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({}, None, ""),
        ({"session": 1}, None, ""),  # a device with a clock judges by it
        ({"number": 900}, None, ""),
        ({"device": "pi-2"}, "foreign", "it is for pi-2 and this is pi-1"),
        ({"number": 4}, "replayed", "its number is 4 and number 4 was obeyed already"),
        ({"number": 1}, "replayed", "number 4 was obeyed already"),
        ({"epoch": "e0", "number": 900}, "replayed", "epoch e0 and this device is in e1"),
        ({"epoch": ""}, "replayed", "epoch none"),
        ({"expires_s": NOW - 1}, "late", "it expired 1 s ago"),
        ({"expires_s": NOW - 86400, "session": 9}, "late", "it expired 86400 s ago"),
        ({"expires_s": NOW + 86400, "session": 8}, "late", "it lives 86400 s more, and 300 are allowed"),
    ],
)
def test_a_device_with_a_clock(fields: dict[str, object], kind: str | None, words: str) -> None:
    found = refuse(command(**fields), HERE)
    assert (found.kind if found else None) == kind
    assert words in (found.why if found else "")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, None),
        ({"session": 8}, "late"),
        ({"session": 0}, "late"),
        ({"expires_s": NOW - 7200}, "late"),  # before the last signed time that it has seen
        ({"number": 4}, "replayed"),
    ],
)
def test_a_device_without_a_clock_obeys_in_this_connection_only(fields: dict[str, object], kind: str | None) -> None:
    lost = replace(HERE, wall_s=100.0, clock_trusted=False, floor_s=NOW - 3600)
    found = refuse(command(**fields), lost)
    assert (found.kind if found else None) == kind


def test_a_clock_that_is_behind_is_judged_as_none() -> None:
    slow = replace(HERE, wall_s=NOW - SKEW_S - 1)
    assert refuse(command(), slow) is None
    assert refuse(command(session=8), slow)
    assert refuse(command(session=8), replace(HERE, wall_s=NOW - SKEW_S)) is None


def test_only_what_the_server_signed_for_this_device_and_was_not_answered_yet_is_answered() -> None:
    rows = [command(device="pi-2"), command(number=4), command(expires_s=NOW - 1), command(epoch="e0")]
    assert [found.answer for row in rows if (found := refuse(row, HERE))] == [False, False, True, True]
