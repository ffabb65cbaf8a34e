"""An agent obeys each command once, and nothing that was not meant for it now."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgefleet_agent.actions import ARGUMENTS
from edgefleet_agent.commanding import MAX_WAITING
from edgefleet_agent.store.counters import NAME
from edgefleet_protocol.messages import Command
from edgefleet_protocol.topics import Topics
from edgefleet_protocol.trust import COMMAND_TYPE, DEVICE_STATE_TYPE
from tests.fakes.device import (
    COMMAND_KEY,
    DEVICE,
    FLEET,
    STATE,
    FakeDevice,
    FakeHub,
    assign,
    failed,
    fleet,
    package,
    proven,
)
from tests.fakes.disk import ALL_LOST


def booted() -> tuple[FakeDevice, FakeHub]:
    device, hub = fleet()
    device.boot().run(lambda it: it.state() is not None and it.agent.store.facts.trust.command_keys)
    device.run(turns=3)
    return device, hub


def command(of: FakeDevice, number: int = 1, action: str = "ping", **fields: object) -> Command:
    state = of.state()
    assert state is not None
    values: dict[str, object] = {
        "device": DEVICE,
        "number": number,
        "epoch": state.command_epoch,
        "session": state.session,
        "expires_s": of.clock.now() + 300,
        "action": action,
    }
    return Command(**{**values, **fields})  # type: ignore[arg-type]


def refusals(device: FakeDevice) -> list[str]:
    return [event.text for event in device.events() if event.kind == "command-refused"]


def test_a_command_is_obeyed_once_and_answered() -> None:
    device, hub = booted()
    first = command(device)
    hub.command(first)
    hub.command(first)
    device.run(turns=2)
    (reply,) = device.replies()
    assert (reply.ok, reply.text, reply.number, reply.epoch) == (True, "pong", 1, first.epoch)
    assert refusals(device) == ["replayed: ping, number 1: its number is 1 and number 1 was obeyed already"]
    state = device.state()
    assert state is not None and state.command_number == 1


def test_forged_foreign_and_late_commands_change_nothing_and_each_is_told() -> None:
    device, hub = booted()
    hub.command(command(device), Ed25519PrivateKey.generate())
    foreign = command(device, device="pi-2")
    hub.broker.publish(Topics(FLEET).of_device(DEVICE, "command"), sealed(foreign))
    hub.command(command(device, expires_s=device.clock.now() - 1))
    device.run(turns=2)
    kinds = [text.partition(":")[0] for text in refusals(device)]
    assert kinds == ["forged", "foreign", "late"]
    (reply,) = device.replies()
    assert not reply.ok and reply.text.startswith("refused as late: it expired")
    assert device.agent.store.counters.counters.number == 0


def sealed(row: Command, payload_type: str = COMMAND_TYPE) -> bytes:
    from edgefleet_protocol.codec import encode
    from edgefleet_protocol.dsse import seal
    from tests.fakes.device import COMMAND_PUBLIC

    return seal(payload_type, encode(row), COMMAND_PUBLIC.keyid, COMMAND_KEY.sign)


def test_an_envelope_of_another_type_is_no_command() -> None:
    device, hub = booted()
    hub.broker.publish(Topics(FLEET).of_device(DEVICE, "command"), sealed(command(device), DEVICE_STATE_TYPE))
    device.run(turns=2)
    assert refusals(device)[0].startswith("forged: the envelope holds")
    assert device.replies() == []


def test_a_replay_is_refused_after_a_power_cut_too() -> None:
    device, hub = booted()
    first = command(device, expires_s=device.clock.now() + 250)
    hub.command(first)
    device.run(turns=1)
    device.disk = device.disk.survivor(ALL_LOST)
    device.broker.cut()
    device.boot().run(turns=4)
    hub.command(first)
    device.run(turns=2)
    assert len(device.replies()) == 1
    assert refusals(device)[-1].startswith("replayed")


def test_a_counter_that_was_lost_obeys_nothing_until_the_server_counts_in_the_new_epoch() -> None:
    device, hub = booted()
    old = [command(device, number=number) for number in (1, 2)]
    hub.command(old[0])
    device.run(turns=1)
    device.stop()
    device.disk.write(STATE / NAME, b"{torn")
    device.boot().run(turns=4)
    for row in old:
        hub.command(row)
    device.run(turns=2)
    assert [reply.ok for reply in device.replies()] == [True, False, False]
    assert any("commands are counted anew" in event.text for event in device.events())
    hub.command(command(device))
    device.run(turns=2)
    assert device.replies()[-1].ok


def test_what_an_older_agent_does_not_know_it_says() -> None:
    device, hub = booted()
    hub.command(command(device, action="brew"))
    hub.command(command(device, number=2, action="restart", arguments={"colour": "red"}))
    device.run(turns=2)
    first, second = device.replies()
    assert (first.ok, first.text) == (False, "unknown action 'brew'; this agent knows " + ", ".join(sorted(ARGUMENTS)))
    assert second.text == "restart takes model, and not colour"


def test_a_flood_costs_a_bounded_number_of_events() -> None:
    device, hub = booted()
    for _ in range(3):
        for _ in range(40):
            hub.broker.publish(Topics(FLEET).of_device(DEVICE, "command"), b"{}")
        device.run(turns=1)
    assert len(refusals(device)) == 1
    assert device.agent.commanding.refused["forged"] == 3 * MAX_WAITING
    assert device.agent.commanding.refused["flood"] == 3 * (40 - MAX_WAITING)


def test_diagnose_says_what_status_and_explain_say() -> None:
    device, hub = booted()
    release = package(1, {"small": 0.9, "large": 0.95})
    hub.publish(release)
    hub.roll_out(assign(release))
    device.run(proven(release))
    hub.command(command(device, action="diagnose"))
    device.run(turns=2)
    (reply,) = device.replies()
    assert reply.ok
    assert "fashion/1 (large)" in reply.text
    assert "small" in reply.facts["explain"] and "large" in reply.facts["explain"]


def test_restart_starts_the_worker_anew_and_it_serves_again() -> None:
    device, hub = booted()
    release = package(1)
    hub.publish(release)
    hub.roll_out(assign(release))
    device.run(proven(release))
    before = device.launcher.answering("fashion")
    hub.command(command(device, action="restart", arguments={"model": "fashion"}))
    device.run(lambda it: it.serving() == "fashion/1" and it.launcher.answering("fashion") is not before)
    hub.command(command(device, number=2, action="restart", arguments={"model": "other"}))
    device.run(turns=2)
    assert [reply.ok for reply in device.replies()] == [True, False]
    assert device.replies()[1].text == "nothing serves other here; models here: fashion"


def test_retry_forgets_a_failure_and_tries_the_release_again() -> None:
    device, hub = booted()
    bad = package(1, wrong=("small",))
    hub.publish(bad)
    hub.roll_out(assign(bad))
    device.run(failed(bad))
    hub.command(command(device, action="retry", arguments={"model": "fashion"}))
    device.run(lambda it: it.replies())
    assert device.replies()[0].ok
    device.run(failed(bad))
    assert device.kinds().count("trial-failed") + device.kinds().count("failed") >= 2
    hub.command(command(device, number=2, action="retry", arguments={"model": "fashion", "release": "fashion/9"}))
    device.run(turns=2)
    assert device.replies()[1].text == "nothing of fashion/9 failed here, so there is nothing to try again"


@pytest.mark.parametrize("session", ["this", "another"])
def test_a_device_at_1970_obeys_only_what_is_for_this_connection(session: str) -> None:
    device, hub = booted()
    order = command(device)
    device.clock.wall = 1000.0
    if session == "another":
        device.broker.cut()
        device.run(turns=2)
    hub.command(order)
    device.run(turns=2)
    assert [reply.ok for reply in device.replies()] == [session == "this"]
