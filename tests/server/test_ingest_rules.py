"""What of a message is believed. Pure, and without a broker."""

import zlib
from dataclasses import replace

import msgspec
import pytest

from edgefleet_agent.agent import SESSIONS_PER_BOOT
from edgefleet_protocol.codec import encode
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.sketch import Sketch
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, TelemetryBatch, Window
from edgefleet_server.ingest.freshness import beyond_belief, stale_presence, stale_state
from edgefleet_server.ingest.telemetry import MAX_PLAIN_BYTES, parse, place

from .records import device

NOW = 1_800_000_000.0


def window(**fields: object) -> Window:
    return Window(**{"start_s": NOW - 60, "seconds": 60.0, "boot": "b", "started_monotonic_s": 5.0, **fields})  # type: ignore[arg-type]


def model(**fields: object) -> ModelWindow:
    values = {"model": "fashion", "release": "fashion/1", "release_sha256": "a" * 64, "variant": "fp32", "requests": 3}
    return ModelWindow(**{**values, **fields})  # type: ignore[arg-type]


def batch(*windows: Window) -> bytes:
    return zlib.compress(encode(TelemetryBatch(device="one", windows=windows)))


def test_a_bad_window_costs_only_itself() -> None:
    good = window()
    bad = window(models=(model(errors=9),))
    found = parse(batch(good, bad, window(started_monotonic_s=6.0)))
    assert [row.started_monotonic_s for row in found.windows] == [5.0, 6.0]
    assert found.refused == ("window 1: fashion: 9 errors of 3 requests",)


@pytest.mark.parametrize(
    ("hostile", "words"),
    [
        (window(models=(model(latency=Sketch(offset=0, counts=(4,))),)), "4 latencies of 3 requests"),
        (window(models=(model(), model())), "fashion comes twice"),
        (window(models=(model(memory_bytes=-1),)), "memory_bytes"),
        (window(device=DeviceWindow(battery_percent=140.0)), "a battery at 140.0 %"),
        (window(device=DeviceWindow(temperature_c=1e300)), "absurdly large"),
        (window(start_s=-1e300), "start_s"),
        (window(device=DeviceWindow(memory_available_bytes=2**70)), "memory_available_bytes"),
    ],
)
def test_what_cannot_be_is_refused_in_words(hostile: Window, words: str) -> None:
    found = parse(batch(window(), hostile))
    assert len(found.windows) == 1
    assert words in found.refused[0]


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": -1},
        {"seconds": "x"},
        {"boot": 7},
        {"models": [{"model": "../etc"}]},
        {"start_s": None},
        {"models": 3},
    ],
)
def test_a_window_of_another_form_is_refused_and_the_others_stay(change: dict[str, object]) -> None:
    document = msgspec.json.decode(encode(TelemetryBatch(device="one", windows=(window(), window()))))
    document["windows"][0] |= change
    found = parse(zlib.compress(msgspec.json.encode(document)))
    assert (len(found.windows), len(found.refused)) == (1, 1)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"plain",
        zlib.compress(b"x" * (MAX_PLAIN_BYTES + 1)),
        zlib.compress(bytes(60_000_000), 9),
        batch(window())[:-4],
        zlib.compress(b"[" * 100_000),
        b"x" * 70_000,
        zlib.compress(b'{"format":1,"device":"one","windows":[]}'),
        zlib.compress(b'{"format":1,"device":"one","windows":[' + b",".join([b"{}"] * 65) + b"]}"),
    ],
)
def test_what_is_no_batch_is_refused_whole(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(payload)


@pytest.mark.parametrize(
    ("start_s", "trusted", "placed_s"),
    [
        (NOW - 3600, True, NOW - 3600),
        (NOW - 3600, False, NOW - 60),
        (5.0, True, NOW - 60),
        (NOW + 86400, True, NOW - 60),
    ],
)
def test_a_clock_that_cannot_be_believed_does_not_move_the_chart(
    start_s: float, trusted: bool, placed_s: float
) -> None:
    assert place(window(start_s=start_s, clock_trusted=trusted), NOW) == (placed_s, placed_s != start_s)


@pytest.mark.parametrize(
    ("session", "boot", "at_s", "stale"),
    [
        (3, "boot", 900.0, False),
        (4, "boot", 901.0, False),
        (4, "boot", 1.0, False),  # its clock was set back
        (2, "boot", 950.0, True),
        (4, "other", 1.0, False),  # rebooted, and its clock is at 1970
        (1, "other", 950.0, False),  # rebooted, and counts from the start
        (1, "other", 1.0, True),
    ],
)
def test_which_state_is_news(session: int, boot: str, at_s: float, stale: bool) -> None:
    assert (stale_state(device(), session, boot, at_s) is not None) == stale
    assert stale_state(None, session, boot, at_s) is None


def test_a_presence_of_an_earlier_session_is_late() -> None:
    assert stale_presence(device(), 2)
    assert stale_presence(device(), 3) is None
    assert stale_presence(None, 1) is None


@pytest.mark.parametrize(
    ("session", "number", "words"),
    [
        (4, 2, None),
        (5_000_000, 900, None),  # the server was away for long; its database is of yesterday
        (40_000 * SESSIONS_PER_BOOT, 2, None),  # an agent that was started anew every minute for a month
        (2**53, 1, "session 9007199254740992, where 3 is known"),
        (4, 2**53, "assignment 9007199254740992, where the server gave 1"),
    ],
)
def test_a_number_that_is_absurdly_far_ahead_is_not_believed(session: int, number: int, words: str | None) -> None:
    assert beyond_belief(device(), session, number) == words
    assert beyond_belief(None, 1, 1) is None


def test_a_server_with_a_new_database_believes_a_device_that_was_started_often() -> None:
    assert beyond_belief(None, 500 * SESSIONS_PER_BOOT, 3) is None


def test_a_clock_that_was_far_ahead_once_does_not_make_every_later_state_stale() -> None:
    ahead = device()
    assert ahead.state is not None
    wrong = replace(ahead, state=msgspec.structs.replace(ahead.state, at_s=4_000_000_000.0))
    assert stale_state(wrong, 1, "after a reset", 950.0) is None
