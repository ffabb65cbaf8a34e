"""Remote hands on a device: looked at, measured, pinned and rolled back by command, and frozen by what is signed."""

import zlib

import pytest

from edgefleet_agent import logbook
from edgefleet_agent.log import LOG
from edgefleet_agent.rules.pieces import CUT, cut
from edgefleet_agent.rules.redact import redacted
from edgefleet_protocol.messages import MAX_ANSWER_BYTES, MAX_PIECE_BYTES, MAX_PIECES, Command, Reply
from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import DeviceWindow, TelemetryBatch
from tests.fakes.device import FakeDevice, FakeHub, Package, assign, fleet, package, proven
from tests.fakes.launcher import Behaviour


def running(*releases: Package) -> tuple[FakeDevice, FakeHub]:
    """A device that has proven each of the releases, one after the other."""
    device, hub = fleet()
    hub.publish(*releases)
    for number, release in enumerate(releases):
        hub.roll_out(assign(release))
        device.boot() if not number else None
        device.run(proven(release))
    return device, hub


def order(device: FakeDevice, hub: FakeHub, action: str, **arguments: str) -> Reply:
    """Give a command and return the last answer to it."""
    state = device.state()
    assert state is not None
    number = state.command_number + 1
    row = Command(
        device=state.device,
        number=number,
        epoch=state.command_epoch,
        session=state.session,
        expires_s=device.clock.now() + 300,
        action=action,
        arguments=arguments,
    )
    hub.command(row)
    device.run(lambda it: any(reply.number == number and not reply.more for reply in it.replies()))
    device.run(turns=2)
    return [reply for reply in device.replies() if reply.number == number][-1]


def text_of(reply: Reply) -> str:
    assert (reply.piece, reply.pieces) == (0, 1)
    return zlib.decompress(reply.data).decode()


def test_rollback_pins_the_release_that_was_proven_before_until_it_expires() -> None:
    first, second = package(1), package(2)
    device, hub = running(first, second)
    reply = order(device, hub, "rollback", for_s="7200", by="ana")
    assert reply.ok and reply.text.startswith("fashion/1 is pinned by ana, by command, until ")
    assert reply.text.endswith("it takes over once it has answered its golden inputs, and fashion/2 serves until then")
    device.run(lambda it: it.serving() == "fashion/1")
    model = device.model()
    assert model is not None and "pinned by ana, by command, until" in (model.pinned or "")
    device.stop()
    device.boot().run(lambda it: it.serving() == "fashion/1")
    device.clock.advance(7300)
    device.run(lambda it: it.serving() == "fashion/2")
    assert any(event.kind == "unpinned" and "is over" in event.text for event in device.events())


def test_a_pin_keeps_what_serves_whatever_is_rolled_out_and_unpin_ends_it() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    assert order(device, hub, "pin", by="ana").text.endswith("it serves now and stays")
    hub.publish(second)
    hub.roll_out(assign(second))
    device.run(turns=40)
    assert device.serving() == "fashion/1"
    assert order(device, hub, "unpin").ok
    device.run(proven(second))
    refused = order(device, hub, "unpin")
    assert not refused.ok and refused.text == "nothing of fashion is pinned by command here"


@pytest.mark.parametrize(
    ("action", "arguments", "words"),
    [
        ("rollback", {}, "fashion/1 runs and no release of fashion was proven here before it"),
        ("rollback", {"model": "other"}, "other is not known here; models here: fashion"),
        ("pin", {"release": "fashion/9"}, "fashion/9 is not on this device; of fashion there are fashion/1"),
        ("pin", {"for_s": "soon"}, "for_s is 'soon': write seconds"),
        ("pin", {"for_s": "1"}, "a pin lasts from a minute"),
        ("pin", {"for_s": "nan"}, "for_s is 'nan'"),
        ("logs", {"lines": "all"}, "lines is 'all': write a number from 1 to 500"),
        ("benchmark", {"model": "other"}, "nothing serves other here; models here: fashion"),
    ],
)
def test_what_cannot_be_done_says_why_and_what_there_is(action: str, arguments: dict[str, str], words: str) -> None:
    device, hub = running(package(1))
    reply = order(device, hub, action, **arguments)
    assert not reply.ok and words in reply.text


def test_a_release_that_failed_here_is_not_pinned_and_neither_is_one_with_another_interface() -> None:
    first, bad = package(1), package(2, wrong=("small",))
    device, hub = running(first)
    hub.publish(bad)
    hub.roll_out(assign(bad))
    device.run(lambda it: it.phase() == "failed")
    assert "fashion/2 failed here" in order(device, hub, "pin", release="fashion/2").text
    other = package(3, labels=("cat",))
    hub.publish(other)
    hub.roll_out(assign(other))
    device.run(turns=20)
    assert "changes the interface of fashion/1" in order(device, hub, "pin", release="fashion/3").text


def test_a_release_that_was_withdrawn_is_not_brought_back_by_a_command_and_a_pin_of_it_ends() -> None:
    first, second = package(1), package(2)
    device, hub = running(first, second)
    assert order(device, hub, "rollback", by="ana").ok
    device.run(lambda it: it.serving() == "fashion/1")
    del hub.listed["releases/fashion/1.json"]
    hub.stamp()
    device.run(proven(second))
    texts = [event.text for event in device.events() if event.kind == "unpinned"]
    assert texts == [
        "fashion/1 is not listed by the holders of the release keys any more: it was withdrawn: rollouts decide again"
    ]
    for action, arguments in (("rollback", {}), ("pin", {"release": "fashion/1"})):
        reply = order(device, hub, action, **arguments)
        assert not reply.ok and "fashion/1 is not listed by the holders" in reply.text


def test_a_command_does_not_take_the_owners_pin_away() -> None:
    from edgefleet_agent.store import owner

    first, second = package(1), package(2)
    device, hub = running(first, second)
    pin = owner.Pin(release="fashion/2", release_sha256=second.sha256, by="owner", since_s=1.0)
    owner.write(device.disk, device.agent.store.state, owner.Hands(pins={"fashion": pin}))  # type: ignore[arg-type]
    for action in ("rollback", "unpin"):
        reply = order(device, hub, action)
        assert not reply.ok and "fashion/2 is pinned by owner, who owns this device" in reply.text
    assert device.serving() == "fashion/2"


def test_s10_a_rollback_on_probation_goes_the_whole_road_back_and_is_told_as_done_only_when_it_is() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    hub.publish(second)
    hub.roll_out(assign(second))
    device.run(lambda it: it.phase() == "probation" and it.serving() == "fashion/2")
    reply = order(device, hub, "rollback", by="ana")
    assert reply.ok and "fashion/1 is pinned" in reply.text and "takes over once" in reply.text
    device.run(lambda it: it.serving() == "fashion/1")
    device.run(
        lambda it: (row := it.model()) is not None and row.running is not None and row.running.release == "fashion/1"
    )
    assert "cancelled" not in device.kinds()[device.kinds().index("pinned") :]
    device.run(proven(first))


def test_a_benchmark_measures_what_serves_in_a_worker_of_its_own_and_answers_when_it_is_done() -> None:
    release = package(1)
    device, hub = fleet()
    device.behaviours = {release.variant_sha256("small"): Behaviour(trial_polls=25, trial_latency_s=0.02)}
    device.probe.window = DeviceWindow(power_w=3.0)
    hub.publish(release)
    hub.roll_out(assign(release))
    device.boot().run(proven(release))
    serving, trials = device.launcher.answering("fashion"), len(device.launcher.trials)

    def works(it: FakeDevice) -> None:
        if it.agent.benching.model is not None:
            it.probe.window = DeviceWindow(power_w=5.0)

    device.after_turn = works
    reply = order(device, hub, "benchmark")
    began = next(row for row in device.replies() if row.more)
    assert began.ok and began.text == "fashion/1 (small) is being measured; what serves goes on"
    assert reply.ok and reply.facts["latency_p50_s"] == "0.02" and reply.facts["memory_bytes"] == "40000000"
    assert float(reply.facts["energy_j"]) == pytest.approx(0.04)
    assert device.launcher.answering("fashion") is serving and len(device.launcher.trials) == trials + 1


def test_a_benchmark_that_finds_no_memory_is_refused_with_the_values() -> None:
    release = package(1, memory={"small": 50_000_000})
    device, hub = running(release)
    device.probe.memory_bytes = 20_000_000
    assert "needs 50 MB and 20 MB are free" in order(device, hub, "benchmark").text


def test_a_diagnosis_comes_in_pieces_and_tells_no_secret() -> None:
    device, hub = running(package(1))
    book = logbook.keep()
    try:
        LOG.warning("could not reach https://ana:hunter2@example.org with token=%s", "ef_" + "x" * 43)
        text = text_of(order(device, hub, "diag"))
        lines = text_of(order(device, hub, "logs", lines="5"))
    finally:
        LOG.removeHandler(book)
    assert all(f"== {name}\n" in text for name in ("status", "explain", "hardware", "settings", "trust", "log"))
    assert "fashion/1 (small)" in text
    for told in (text, lines):
        assert "could not reach https://ana" in told and "hunter2" not in told and "xxxx" not in told


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Authorization: Bearer abcdefgh12345678", "Authorization: Bearer [taken out]"),
        ('{"password": "a b", "x": 1}', '{"password": [taken out], "x": 1}'),
        ("-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nafter", "[taken out]\nafter"),
        ("-----BEGIN PRIVATE KEY-----\nMHc cut", "[taken out]"),
        ("ef1.abcdef0123456789.abcdefghij", "[taken out]"),
        ("mqtts://hub:s3cret@host:8883", "mqtts://hub:[taken out]@host:8883"),
        ("key lies at /etc/edgefleet/device.key", "key lies at /etc/edgefleet/device.key"),
        ("fashion/2 (int8) answered the golden inputs", "fashion/2 (int8) answered the golden inputs"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out_and_nothing_else(text: str, left: str) -> None:
    assert redacted(text) == left


def test_a_long_answer_is_cut_below_what_a_broker_carries_and_one_too_long_keeps_its_end() -> None:
    import random

    noise = random.Random(7).randbytes(900_000).hex()
    for text, begins in (("a line\n" * 10, "a line"), (noise[:200_000], noise[:20]), (noise, CUT)):
        pieces = cut(text)
        assert 1 <= len(pieces) <= MAX_PIECES and all(len(piece) <= MAX_PIECE_BYTES for piece in pieces)
        whole = zlib.decompress(b"".join(pieces)).decode()
        assert whole.startswith(begins) and whole[-100:] == text[-100:] and len(whole) <= MAX_ANSWER_BYTES
    assert cut("") == []


@pytest.mark.parametrize("how", ["device", "region"])
def test_s04_a_frozen_device_takes_nothing_new_says_who_froze_it_and_goes_on_when_it_is_thawed(how: str) -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    words = "ana: inspection"
    hub.publish(second)
    if how == "device":
        hub.assign_region(number=2, frozen=words)
        device.run(turns=3)
        hub.roll_out(assign(second, deadline_s=600))
    else:
        hub.roll_out(assign(second, deadline_s=600), frozen=words)
    device.run(lambda it: (row := it.model()) is not None and words in (row.held or ""))
    device.clock.advance(3600)
    device.run(turns=10)
    assert device.serving() == "fashion/1"
    device.stop()
    device.boot().run(lambda it: it.serving() == "fashion/1")
    device.run(turns=20)
    assert device.serving() == "fashion/1" and device.phase() == "waiting"
    hub.assign_region(number=3) if how == "device" else hub.roll_out(assign(second, deadline_s=600))
    device.run(proven(second))


def test_a_device_that_moves_keeps_what_it_runs_until_its_new_region_wishes_something() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    hub.publish(second)
    hub.assign_region("ap-south", number=2)
    device.run(lambda it: (state := it.state()) is not None and state.region == "ap-south")
    device.run(turns=20)
    assert device.serving() == "fashion/1"
    hub.roll_out(assign(second), region="ap-south")
    device.run(proven(second))


def test_only_measurements_that_the_region_lets_out_leave_also_of_windows_from_before() -> None:
    device, hub = fleet()
    device.probe.window = DeviceWindow(temperature_c=50.0, battery_percent=80.0)
    release = package(1)
    hub.publish(release)
    hub.roll_out(assign(release), policy=Policy(telemetry_interval_s=10.0, telemetry_fields=("heat", "latency")))
    device.boot().run(proven(release))
    device.run(turns=20)
    windows = [
        window
        for data in device.broker.payloads("telemetry/pi-1")
        for window in decode_batch(data).windows
        if any(model.requests for model in window.models)
    ]
    assert windows
    for window in windows:
        assert replace_heat(window.device) == DeviceWindow()
        assert all(row.memory_bytes is None and row.latency.count for row in window.models if row.requests)


def decode_batch(data: bytes) -> TelemetryBatch:
    from edgefleet_protocol.codec import decode

    return decode(zlib.decompress(data), TelemetryBatch)


def replace_heat(window: DeviceWindow) -> DeviceWindow:
    import msgspec

    assert window.temperature_c == 50.0
    return msgspec.structs.replace(window, temperature_c=None, throttled=None)
