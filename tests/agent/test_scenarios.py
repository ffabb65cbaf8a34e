"""Failure scenarios that users of other systems met, as they concern policy, owner, applications and several models.

Others of the numbers stand in test_agent_faults.py. The devices are fakes around the real agent.
"""

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from edgefleet_agent.rules.seen import Lease
from edgefleet_agent.status import status_words
from edgefleet_agent.store import owner
from edgefleet_agent.store.owner import Hands, OwnerHold, Pin
from edgefleet_protocol.manifest import Requirement
from edgefleet_protocol.messages import ModelState
from edgefleet_protocol.rollout import OpenHours, Policy, Probation
from edgefleet_protocol.telemetry import DeviceWindow
from edgefleet_protocol.topics import Topics
from tests.fakes.device import FLEET, STATE, FakeDevice, FakeHub, Package, assign, failed, fleet, package, proven
from tests.fakes.launcher import Behaviour

TOPICS = Topics(FLEET)
NIGHT = OpenHours(start="02:00", end="04:00")


def policy(**rules: Any) -> Policy:
    return Policy(telemetry_interval_s=10.0, **rules)


def running(*releases: Package) -> tuple[FakeDevice, FakeHub]:
    """Return a device that has proven `releases`, one of each model."""
    device, hub = fleet()
    hub.publish(*releases)
    hub.roll_out(*(assign(one) for one in releases))
    device.boot().run(until=lambda one: all(proven(release)(one) for release in releases))
    return device, hub


def wish(hub: FakeHub, *releases: Package, policy: Policy | None = None) -> None:
    hub.publish(*releases)
    hub.roll_out(*(assign(one) for one in releases), policy=policy)


def model(device: FakeDevice, name: str = "fashion") -> ModelState:
    found = device.model(name)
    assert found is not None
    return found


def why(device: FakeDevice, words: str, name: str = "fashion") -> bool:
    return device.model(name) is not None and words in model(device, name).why


def at(device: FakeDevice, text: str) -> None:
    """Set the device's clock, UTC."""
    device.clock.wall = datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def owner_says(device: FakeDevice, hands: Hands) -> None:
    owner.write(device.disk, STATE, hands)


def fetched(device: FakeDevice, release: Package) -> set[str]:
    topics = {topic for topic, count in device.broker.delivered.items() if count}
    return {name for name in release.chunks if TOPICS.chunk(name) in topics}


# --- windows


def test_a_release_is_fetched_at_once_and_takes_over_when_the_window_of_the_region_opens() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    at(device, "2027-01-15 12:00:00")
    wish(hub, second, policy=policy(windows=(NIGHT,), timezone="Europe/Berlin"))
    device.run(until=lambda one: why(one, "outside the region's windows"))
    assert fetched(device, second) and device.serving() == "fashion/1" and device.phase() == "waiting"
    assert "the next opens Saturday 02:00 CET" in model(device).why
    assert model(device).waits_until_s == datetime(2027, 1, 16, 1, tzinfo=timezone.utc).timestamp()
    assert "until     2027-01-16 01:00:00 UTC" in status_words(device.state(), is_running=True)  # type: ignore[arg-type]
    device.run(turns=50)
    assert device.launcher.trials == ["fashion/1 small"]
    at(device, "2027-01-16 00:59:50")
    device.run(until=lambda one: one.serving() == "fashion/2", turns=60)
    assert device.clock.wall < datetime(2027, 1, 16, 1, 2, tzinfo=timezone.utc).timestamp()


def test_chunks_wait_for_the_window_where_the_region_says_so_and_a_first_model_waits_for_none() -> None:
    shut = policy(windows=(NIGHT,), timezone="UTC", download="in-window")
    first, second = package(1), package(2)
    device, hub = fleet()
    at(device, "2027-01-15 12:00:00")
    wish(hub, first, policy=shut)
    device.boot().run(until=proven(first))
    wish(hub, second, policy=shut)
    device.run(until=lambda one: why(one, "is not fetched yet; the next opens Saturday 02:00"))
    assert not fetched(device, second) - set(first.chunks)
    at(device, "2027-01-16 02:00:01")
    device.run(until=proven(second))


def test_s28_without_a_clock_that_can_be_trusted_a_window_is_waited_for_with_the_word_clock() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    device.clock.wall = 3600.0 * 3  # 03:00 of 1970: within the window, were it now
    wish(hub, second, policy=policy(windows=(NIGHT,), timezone="UTC"))
    device.run(until=lambda one: why(one, "the clock of this device is not set"))
    device.run(turns=30)
    assert device.serving() == "fashion/1" and device.kinds().count("clock") == 1
    at(device, "2027-01-16 03:00:00")
    device.run(until=proven(second))


def test_a_time_zone_that_this_system_does_not_know_is_said_and_harms_nothing() -> None:
    device, hub = running(package(1))
    wish(hub, package(2), policy=policy(windows=(NIGHT,), timezone="Mars/Olympus"))
    device.run(until=lambda one: why(one, "Mars/Olympus is not known on this system"))
    assert device.serving() == "fashion/1"


def test_a_policy_that_contradicts_itself_is_harmless_on_a_device() -> None:
    device, hub = running(package(1))
    hours = OpenHours(start="02:00", end="02:00", days=("monday", "monday"))
    wish(hub, package(2), policy=policy(windows=(hours,), timezone="UTC", lease_deadline_s=0, quarantine_s=0))
    device.run(turns=60)
    assert device.serving() in ("fashion/1", "fashion/2")


# --- the way out, disk, battery


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, "the way out is wwan0, which is metered"),
        (
            {"metered": "allow", "interfaces": ("eth*", "wlan0")},
            "the way out is wwan0 and the region allows eth*, wlan0",
        ),
    ],
)
def test_s21_over_a_metered_or_a_foreign_interface_nothing_is_fetched_in_silence(
    rules: dict[str, Any], words: str
) -> None:
    from msgspec.structs import replace

    second = package(2)
    device, hub = running(package(1))
    device.settings = replace(device.settings, network=type(device.settings.network)(metered=("wwan*",)))
    device.probe.way_out = "wwan0"
    device.broker.cut(keep_sessions=False)
    device.boot()
    wish(hub, second, policy=policy(**rules))
    device.run(until=lambda one: why(one, words))
    device.run(turns=20)
    assert not fetched(device, second) - set(package(1).chunks) and device.serving() == "fashion/1"
    device.probe.way_out = "eth1" if rules else "wlan0"
    device.run(until=proven(second))


def test_s24_the_region_may_ask_for_a_larger_reserve_of_the_disk_than_the_device_does() -> None:
    device, hub = running(package(1))
    device.probe.free_bytes = 1_000_000
    device.clock.advance(10)
    wish(hub, package(2), policy=policy(disk_reserve_bytes=2_000_000))
    device.run(until=lambda one: why(one, "no space: 2.0 MB are needed"))
    device.probe.free_bytes = 3_000_000
    device.run(until=proven(package(2)))


def test_s36_a_hot_board_waits_before_anything_new() -> None:
    device, hub = running(package(1))
    device.probe.window = DeviceWindow(temperature_c=84.0)
    device.clock.advance(10)
    wish(hub, package(2), policy=policy(max_temperature_c=80.0))
    device.run(until=lambda one: why(one, "84 °C here and the region allows 80 °C"))
    assert device.serving() == "fashion/1"


# --- the owner


def test_a_pin_wins_over_every_rollout_works_offline_survives_a_restart_and_ends_with_release() -> None:
    first, second, third = package(1), package(2), package(3)
    device, hub = running(first)
    wish(hub, second)
    device.run(until=proven(second))
    device.broker.reachable = False
    device.broker.cut()
    pin = Pin(release="fashion/1", release_sha256=first.sha256, by="ana", since_s=device.clock.wall)
    owner_says(device, Hands(pins={"fashion": pin}))
    device.run(until=lambda one: one.serving() == "fashion/1", turns=60)
    device.boot().run(turns=20)
    assert device.serving() == "fashion/1"

    device.broker.reachable = True
    wish(hub, third)
    device.run(until=lambda one: one.model() is not None and "fashion/3 is not followed" in (model(one).pinned or ""))
    assert model(device).pinned == "fashion/1 is pinned by ana, so fashion/3 is not followed"
    device.run(turns=60)
    assert device.serving() == "fashion/1" and not fetched(device, third) - set(first.chunks) - set(second.chunks)
    device.run(until=lambda one: one.phase() == "proven")
    assert "pinned    fashion/1 is pinned by ana" in status_words(device.state(), is_running=True)  # type: ignore[arg-type]
    owner_says(device, Hands())
    device.run(until=proven(third))
    assert model(device).pinned is None


def test_s04_a_held_model_takes_nothing_new_says_who_holds_it_and_its_deadline_runs_from_the_end_of_the_hold() -> None:
    second = package(2)
    device, hub = running(package(1))
    hub.publish(second)
    hub.roll_out(assign(second, deadline_s=300), policy=policy())
    device.run(turns=2)
    until = device.clock.wall + 1000
    owner_says(device, Hands(holds={"fashion": OwnerHold(by="ana", since_s=0.0, until_s=until)}))
    device.run(until=lambda one: one.model() is not None and model(one).held is not None)
    assert "held by ana until 2027-01-15" in (model(device).held or "") and model(device).waits_until_s == until
    device.run(turns=100)
    assert device.serving() == "fashion/1" and device.phase() == "waiting"
    device.clock.advance(900)
    device.run(until=proven(second))
    assert model(device).failures == () and model(device).held is None


def test_a_file_of_the_owner_that_cannot_be_read_holds_everything_and_what_serves_goes_on() -> None:
    device, hub = running(package(1))
    device.disk.write(STATE / "owner.json", b'{"pins": {"fash')
    wish(hub, package(2))
    device.run(until=lambda one: why(one, "owner.json cannot be read"))
    device.boot().run(turns=30)
    assert device.serving() == "fashion/1"


def test_s10_a_wish_taken_back_between_switch_and_proof_goes_the_whole_road_back() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    hub.publish(second)
    hub.roll_out(assign(second, probation=Probation(seconds=10_000)))
    device.run(until=lambda one: one.serving() == "fashion/2")
    hub.roll_out(assign(first))
    device.run(until=proven(first))
    assert device.serving() == "fashion/1" and device.phase() == "proven"


# --- applications


class FakeLeases:
    """What applications hold."""

    def __init__(self, *rows: Lease) -> None:
        self.rows = rows

    def prepare(self, model: str) -> None: ...

    def of(self, model: str) -> tuple[Lease, ...]:
        return self.rows


def leased(device: FakeDevice, *rows: Lease) -> None:
    device.agent.leases = FakeLeases(*rows)  # type: ignore[assignment]


def test_s12_a_switch_waits_for_a_lease_says_whose_it_is_and_is_made_when_it_ends() -> None:
    device, hub = running(package(1))
    leased(device, Lease(71, "camera", device.clock.mono + 10_000))
    wish(hub, package(2))
    device.run(until=lambda one: why(one, "waits for camera (pid 71), which must not be interrupted"))
    assert model(device).leases == ("camera (pid 71)",) and device.serving() == "fashion/1"
    leased(device)
    device.run(until=lambda one: one.serving() == "fashion/2", turns=20)


def test_s12_a_lease_that_never_ends_holds_a_switch_no_longer_than_the_policy_says() -> None:
    device, hub = running(package(1))
    leased(device, Lease(71, "camera", device.clock.mono + 1e9))
    wish(hub, package(2), policy=policy(lease_deadline_s=120))
    device.run(until=lambda one: why(one, "waits for camera"))
    began = device.clock.mono
    device.run(until=lambda one: one.serving() == "fashion/2")
    assert 110 <= device.clock.mono - began <= 140


def test_s12_a_model_that_fails_on_probation_goes_back_whatever_is_leased() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.behaviours[second.variant_sha256("small")] = Behaviour(errors_percent=50)
    wish(hub, second)
    device.run(until=lambda one: one.serving() == "fashion/2")
    leased(device, Lease(71, "camera", device.clock.mono + 1e9))
    device.run(until=lambda one: one.serving() == "fashion/1")


# --- several models


def test_a_crash_loop_a_trial_that_hangs_and_a_download_without_end_of_one_model_delay_no_other() -> None:
    fashion, voice = package(1), package(1, model="voice")
    device, hub = running(fashion)
    crashing = package(1, model="alarm")
    endless = package(1, model="birds", size=40_000)
    device.behaviours[crashing.variant_sha256("small")] = Behaviour(dies_after=3)
    hub.publish(endless, chunks=False)
    hub.publish(crashing, voice)
    hub.roll_out(assign(endless), assign(crashing), assign(fashion), assign(voice))
    began = device.clock.mono
    device.run(until=proven(voice))
    assert device.clock.mono - began < 120
    assert device.serving("fashion") == "fashion/1" and device.serving("birds") is None


def test_trials_are_one_at_a_time_and_who_waited_longest_is_next() -> None:
    many = {f"v{number}": 0.9 for number in range(5)}
    wrong = package(1, many, model="alarm", wrong=tuple(many))
    voice = package(1, model="voice")
    device, hub = fleet()
    overlaps = []
    device.after_turn = lambda one: overlaps.append(sum(live.trial is not None for live in one.agent.lives.values()))
    wish(hub, wrong, voice)
    device.boot().run(until=proven(voice))
    assert max(overlaps) == 1
    assert device.launcher.trials.index("voice/1 small") <= 2, device.launcher.trials


def test_memory_that_another_model_is_loading_into_is_counted_once() -> None:
    need = Requirement(memory_bytes=60_000_000)
    alarm, voice = package(1, model="alarm", requires=need), package(1, model="voice", requires=need)
    device, hub = fleet()
    device.probe.memory_bytes = 220_000_000  # 120 of them are the system's: there is room for one at a time
    wish(hub, alarm, voice)
    device.boot().run(until=lambda one: proven(alarm)(one) and proven(voice)(one))


def test_a_fault_of_the_agent_about_one_model_is_told_and_keeps_the_others_from_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device, hub = running(package(1))
    voice = package(1, model="voice")
    real = device.agent.store.releases.slots

    def broken(name: str) -> Any:
        if name == "alarm":
            raise ValueError("nobody thought of this")
        return real(name)

    monkeypatch.setattr(device.agent.store.releases, "slots", broken)
    wish(hub, package(1, model="alarm"), package(2), voice)
    device.run(until=lambda one: proven(voice)(one) and proven(package(2))(one))
    assert [event.model for event in device.events() if event.kind == "fault"] == ["alarm"]


# --- what survives


def test_s37_time_on_probation_survives_restarts_of_the_agent() -> None:
    second = package(2)
    device, hub = running(package(1))
    hub.publish(second)
    hub.roll_out(assign(second, probation=Probation(seconds=600)))
    device.run(until=lambda one: one.serving() == "fashion/2")
    for _ in range(12):
        device.run(turns=25)  # of up to 5 s each
        device.broker.cut(keep_sessions=False)
        device.boot()
        if device.agent.store.facts.facts.model("fashion").active.proven:  # type: ignore[union-attr]
            break
    else:
        raise AssertionError("an agent that is started again every 100 s never ends a probation of 600 s")


def test_s37_a_proven_model_that_dies_again_and_again_makes_way_for_the_one_before() -> None:
    second = package(2)
    device, hub = running(package(1))
    wish(hub, second)
    device.run(until=proven(second))
    device.behaviours[second.variant_sha256("small")] = Behaviour(dies_at_start=True)
    worker = device.launcher.answering("fashion")
    assert worker is not None
    worker.dead = "killed by SIGSEGV"
    for _ in range(4):  # the count survives the agent's own restarts
        device.run(turns=15)
        device.broker.cut(keep_sessions=False)
        device.boot()
    device.run(until=lambda one: one.serving() == "fashion/1")
    assert "died 8 times in a row" in model(device).failures[-1].reason


def test_s37_after_three_releases_that_hurt_requests_a_device_is_in_quarantine_until_it_ends_or_the_owner_ends_it() -> (
    None
):
    device, hub = running(package(1))
    for version in (2, 3, 4):
        bad = package(version)
        device.behaviours[bad.variant_sha256("small")] = Behaviour(errors_percent=50)
        wish(hub, bad)
        device.run(until=failed(bad))
        device.run(until=lambda one: one.serving() == "fashion/1")
    good = package(5)
    hub.publish(good)
    hub.roll_out(assign(good, deadline_s=500_000), policy=policy(quarantine_s=50_000))
    device.run(until=lambda one: why(one, "in quarantine for 50000 s: 3 releases in a row failed here"))
    device.boot().run(turns=50)
    assert device.serving() == "fashion/1" and "3 releases in a row" in (model(device).quarantined or "")
    assert not fetched(device, good) - set(package(1).chunks)
    device.clock.advance(50_000)
    device.run(until=proven(good))
    assert device.agent.store.facts.facts.model("fashion").strikes == 0


def test_the_owner_ends_a_quarantine() -> None:
    device, hub = running(package(1))
    bad, good = package(2), package(3)
    device.behaviours[bad.variant_sha256("small")] = Behaviour(lies_when_serving=True)
    wish(hub, bad, policy=policy(quarantine_after=1))
    device.run(until=failed(bad))
    wish(hub, good, policy=policy(quarantine_after=1))
    device.run(until=lambda one: why(one, "in quarantine"))
    owner_says(device, Hands(released={"fashion": device.clock.wall}))
    device.run(until=proven(good))


def test_s02_nothing_is_left_unfinished_for_ever_whatever_it_waits_for() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.probe.window = DeviceWindow(battery_percent=5, battery_charging=False)
    device.clock.advance(10)
    hub.publish(second)
    hub.roll_out(assign(second, deadline_s=600), policy=policy(battery_floor_percent=50))
    device.run(until=failed(second))
    assert model(device).failures[-1].stage == "deadline" and device.serving() == "fashion/1"


def test_s03_a_device_that_was_away_for_a_month_takes_the_newest_wish_and_no_other() -> None:
    device, hub = running(package(1))
    device.broker.reachable = False
    device.broker.cut()
    for version in (2, 3):
        wish(hub, package(version))
    device.clock.advance(30 * 86400.0)
    device.run(turns=5)
    device.broker.reachable = True
    device.run(until=proven(package(3)))
    assert "fashion/2 small" not in device.launcher.trials


def test_s26_facts_that_are_damaged_are_rebuilt_from_the_content_store_without_network() -> None:
    first = package(1)
    device, _ = running(first)
    device.broker.reachable = False
    device.broker.cut()
    device.disk.write(STATE / "facts.json", json.dumps({"boots": "many"}).encode())
    began = device.clock.mono
    device.boot().run(until=lambda one: one.serving() == "fashion/1", turns=60)
    assert device.clock.mono - began < 60


def test_s26_damaged_facts_while_a_newer_release_is_not_here_yet_serve_the_one_that_is() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    hub.publish(second, chunks=False)
    hub.roll_out(assign(second))
    device.run(until=lambda one: one.phase() == "fetching")
    device.broker.reachable = False
    device.broker.cut()
    device.disk.write(STATE / "facts.json", b"{")
    device.boot().run(until=lambda one: one.serving() == "fashion/1", turns=60)
    hub.publish(second)
    device.broker.reachable = True
    device.run(until=proven(second))
