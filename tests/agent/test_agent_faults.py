"""What a device does when something is wrong. The numbers are those of the failure scenarios that users of other
systems met; each test says in its name what must happen."""

import errno
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from edgefleet_agent.seams import Missing
from edgefleet_agent.status import status_words
from edgefleet_protocol.codec import decode, encode
from edgefleet_protocol.manifest import Requirement
from edgefleet_protocol.messages import Need, Presence
from edgefleet_protocol.rollout import Audience, Policy, Probation
from edgefleet_protocol.telemetry import DeviceWindow
from edgefleet_protocol.topics import Topics
from tests.fakes.device import (
    DEVICE,
    FLEET,
    STATE,
    FakeDevice,
    FakeHub,
    Package,
    assign,
    failed,
    fleet,
    package,
    proven,
)
from tests.fakes.disk import NOTHING_LOST
from tests.fakes.launcher import Behaviour, PowerGone

TOPICS = Topics(FLEET)


def running(release: Package) -> tuple[FakeDevice, FakeHub]:
    """Return a device that has proven `release`."""
    device, hub = fleet()
    hub.publish(release)
    hub.roll_out(assign(release))
    device.boot().run(until=proven(release))
    return device, hub


def wish(hub: FakeHub, *releases: Package, policy: Policy | None = None) -> None:
    hub.publish(*releases)
    hub.roll_out(*(assign(one) for one in releases), policy=policy)


# --- models that are no good


def test_s01_a_model_that_fails_at_its_first_inference_after_the_switch_never_counts_as_active() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    device.behaviours[second.variant_sha256("small")] = Behaviour(lies_when_serving=True)
    wish(hub, second)
    device.run(until=failed(second))

    assert device.serving() == "fashion/1"
    assert "activated" not in device.kinds()[device.kinds().index("proven") + 1 :]
    model = device.model()
    assert model is not None and model.failures[0].stage == "switch" and "golden" in model.failures[0].reason


def test_a_variant_whose_golden_answers_are_wrong_is_excluded_and_the_next_one_is_tried() -> None:
    second = package(2, {"best": 0.95, "small": 0.9}, wrong=("best",))
    device, hub = running(package(1))
    wish(hub, second)
    device.run(until=proven(second))

    model = device.model()
    assert model is not None and model.running is not None and model.running.variant == "small"
    assert [(row.variant, row.stage) for row in model.failures] == [("best", "trial")]
    assert "golden answers differ" in model.failures[0].reason


def test_a_release_of_which_all_variants_fail_is_failed_and_never_tried_again_for_the_same_wish() -> None:
    second = package(2, {"best": 0.95, "small": 0.9}, wrong=("best", "small"))
    device, hub = running(package(1))
    wish(hub, second)
    device.run(until=failed(second))
    tried = list(device.launcher.trials)
    hub.roll_out(assign(second))
    device.run(turns=40)
    device.boot().run(turns=40)

    assert tried == ["fashion/1 small", "fashion/2 best", "fashion/2 small"]
    assert device.launcher.trials == []
    assert device.serving() == "fashion/1"
    assert device.phase() == "failed"


def test_a_model_that_breaks_its_latency_budget_in_probation_goes_back_by_itself_with_both_values() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.behaviours[second.variant_sha256("small")] = Behaviour(latency_s=0.08, trial_latency_s=0.01)
    wish(hub, second, policy=Policy(latency_budget_s=0.05, telemetry_interval_s=10))
    device.run(until=failed(second))
    device.run(until=lambda one: one.serving() == "fashion/1")

    model = device.model()
    assert model is not None and model.running is not None and model.running.release == "fashion/1"
    failure = model.failures[0]
    assert failure.stage == "probation" and "50.0 ms are allowed" in failure.reason and "p95" in failure.reason
    assert "fell-back" in device.kinds()


def test_no_moment_without_a_model_while_it_goes_back() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.behaviours[second.variant_sha256("small")] = Behaviour(errors_percent=20)
    gaps = []
    device.after_turn = lambda one: gaps.append(one.serving() is None)
    wish(hub, second)
    device.run(until=failed(second))
    device.run(turns=10)

    assert device.serving() == "fashion/1"
    assert not any(gaps)


def test_too_few_requests_are_no_verdict_on_latency() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.launcher.requests_per_read = 1
    device.behaviours[second.variant_sha256("small")] = Behaviour(latency_s=0.08, trial_latency_s=0.01)
    hub.publish(second)
    hub.roll_out(
        assign(second, probation=Probation(seconds=20, min_requests=1000)),
        policy=Policy(latency_budget_s=0.05, telemetry_interval_s=10),
    )
    device.run(until=proven(second))


def test_s35_a_variant_with_unsupported_instructions_is_excluded_with_the_signal_as_reason() -> None:
    second = package(2, {"best": 0.95, "small": 0.9})
    device, hub = running(package(1))
    device.behaviours[second.variant_sha256("best")] = Behaviour(trial="killed by SIGILL")
    wish(hub, second)
    device.run(until=proven(second))

    model = device.model()
    assert model is not None and model.failures[0].reason == "killed by SIGILL"


def test_s37_a_crash_loop_is_counted_over_restarts_and_nothing_is_downloaded_again() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.behaviours[second.variant_sha256("small")] = Behaviour(dies_after=4)
    hub.publish(second)
    hub.roll_out(assign(second, probation=Probation(seconds=10_000)))
    device.run(until=lambda one: one.agent.store.facts.facts.model("fashion").crashes == 1)
    device.boot().run(until=lambda one: one.agent.store.facts.facts.model("fashion").crashes == 2)
    device.boot().run(until=failed(second))
    device.run(until=lambda one: one.serving() == "fashion/1")

    chunks = {topic: count for topic, count in device.broker.delivered.items() if "/chunk/" in topic}
    assert set(chunks.values()) == {1}
    model = device.model()
    assert model is not None and "died 3 times" in model.failures[0].reason


def test_a_candidate_that_takes_the_device_down_is_tried_three_times_at_most() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.behaviours[second.variant_sha256("small")] = Behaviour(takes_the_device_down=True)
    wish(hub, second)
    falls = 0
    for _ in range(5):
        try:
            device.run(until=failed(second))
            break
        except PowerGone:
            falls += 1
            device.boot()

    assert falls == 3
    assert device.serving() == "fashion/1"


def test_a_proven_model_whose_worker_dies_is_started_again_and_a_dead_agent_finds_it_by_itself() -> None:
    device, _ = running(package(1))
    worker = device.launcher.answering("fashion")
    assert worker is not None
    worker.dead = "killed by SIGKILL"
    device.run(until=lambda one: one.serving() == "fashion/1")
    assert "worker-died" in device.kinds()


# --- what comes over the link


def test_a_chunk_that_was_altered_is_not_kept_the_hub_is_told_at_once_and_the_state_says_it() -> None:
    first = package(1)
    device, hub = fleet()
    hub.publish(first)
    sha256 = next(iter(first.chunks))
    good = first.chunks[sha256]
    device.broker.retained[TOPICS.chunk(sha256)] = bytes([good[0]]) + bytes(len(good) - 1)
    hub.roll_out(assign(first))
    device.boot().run(until=lambda one: one.broker.payloads("/need"))
    assert decode(device.broker.payloads("/need")[-1], Need).chunks == (sha256,)
    words = f"chunk {sha256[:12]} was refused: "
    device.run(until=lambda one: words in (one.model() or _none()).why)
    assert (device.model() or _none()).phase == "fetching"
    device.run(turns=100)
    assert device.kinds().count("bad-chunk") == 1

    device.broker.publish(TOPICS.chunk(sha256), good, retain=True)
    device.run(until=proven(first))


def test_a_chunk_that_the_server_puts_right_is_here_seconds_after_the_need() -> None:
    first = package(1)
    device, hub = fleet()
    hub.publish(first)
    sha256 = next(iter(first.chunks))
    device.broker.retained[TOPICS.chunk(sha256)] = b"\x00wrong"
    hub.roll_out(assign(first))
    device.boot().run(until=lambda one: one.broker.payloads("/need"))
    device.broker.publish(TOPICS.chunk(sha256), first.chunks[sha256], retain=True)
    began = device.clock.monotonic()
    device.run(until=lambda one: sha256 in one.agent.store.chunks)
    assert device.clock.monotonic() - began < 10


def test_a_chunk_that_is_too_long_is_refused() -> None:
    first = package(1)
    device, hub = fleet()
    hub.publish(first)
    sha256 = next(iter(first.chunks))
    device.broker.retained[TOPICS.chunk(sha256)] = b"\x00" * 100_000
    hub.roll_out(assign(first))
    device.boot().run(until=lambda one: "bad-chunk" in one.kinds())
    assert device.serving() is None
    device.broker.publish(TOPICS.chunk(sha256), first.chunks[sha256], retain=True)
    device.run(until=proven(first))


def test_a_chunk_that_does_not_come_is_asked_for_twice_and_then_needed() -> None:
    first = package(1)
    device, hub = fleet()
    hub.publish(first)
    sha256 = next(iter(first.chunks))
    del device.broker.retained[TOPICS.chunk(sha256)]
    hub.roll_out(assign(first))
    device.boot().run(until=lambda one: one.broker.payloads("/need"))
    assert device.link.subscribed.count(TOPICS.chunk(sha256)) == 3
    hub.publish(first)
    device.run(until=proven(first))


def test_s07_six_rollouts_while_a_device_is_away_cost_one_download_of_the_last() -> None:
    device, hub = running(package(1))
    device.broker.reachable = False
    device.broker.cut()
    releases = [package(version) for version in range(2, 8)]
    for one in releases:
        wish(hub, one)
    device.run(turns=5)
    device.broker.delivered.clear()
    device.broker.reachable = True
    device.run(until=proven(releases[-1]))

    fetched = {TOPICS.parse(topic).name for topic in device.broker.delivered if "/chunk/" in topic}
    assert fetched <= set(releases[-1].chunks)
    assert [trial for trial in device.launcher.trials if trial != "fashion/1 small"] == ["fashion/7 small"]


@pytest.mark.parametrize("keep", [True, False])
def test_s14_after_the_broker_is_lost_the_session_is_new_and_all_is_said_again(keep: bool) -> None:
    device, hub = running(package(1))
    before = decode(device.broker.retained[TOPICS.of_device(DEVICE, "presence")], Presence)
    if not keep:
        device.broker.lose_everything()
    device.broker.cut(keep_sessions=keep) if keep else None
    gone = decode(device.broker.retained[TOPICS.of_device(DEVICE, "presence")], Presence)
    assert gone.session == before.session and not gone.online
    device.run(turns=4)

    presence = decode(device.broker.retained[TOPICS.of_device(DEVICE, "presence")], Presence)
    assert presence.online and presence.session > before.session
    state = device.state()
    assert state is not None and state.session == presence.session
    second = package(2)
    hub.assign_region()
    wish(hub, second)
    device.run(until=proven(second))


def test_a_connection_lost_while_fetching_costs_no_chunk_twice() -> None:
    first = package(1, size=20_000)
    device, hub = fleet()
    wish(hub, first)
    device.boot().run(until=lambda one: len(one.agent.store.chunks._here) > 8)
    device.broker.cut()
    device.run(until=proven(first))
    assert {count for topic, count in device.broker.delivered.items() if "/chunk/" in topic} == {1}


# --- what must not be obeyed


def test_a_release_that_is_not_listed_is_refused_with_its_reason_and_an_event() -> None:
    second = package(2)
    device, hub = running(package(1))
    hub.publish(second)
    hub.listed = {path: sha256 for path, sha256 in hub.listed.items() if sha256 != second.sha256}
    hub.roll_out(assign(second))
    device.run(until=lambda one: "refused" in one.kinds())
    device.run(turns=3)

    model = device.model()
    assert model is not None and model.running is not None and model.running.release == "fashion/1"
    assert "does not list it" in model.why


def test_metadata_that_is_replayed_is_refused_and_what_runs_keeps_running() -> None:
    device, hub = running(package(1))
    old = device.broker.retained[TOPICS.trust("timestamp.json")]
    wish(hub, package(2))
    device.run(until=proven(package(2)))
    device.broker.publish(TOPICS.trust("timestamp.json"), old, retain=True)
    device.run(until=lambda one: (one.state() or _none()).trust_problem is not None)

    state = device.state()
    assert state is not None and "replay" in (state.trust_problem or "")
    assert device.serving() == "fashion/2"


def test_a_false_head_is_told_to_the_hub_which_alone_can_put_it_right(monkeypatch: pytest.MonkeyPatch) -> None:
    device, hub = running(package(1))
    good, false = device.broker.retained[TOPICS.trust("head")], b'{"root":9999999}'
    roots, look = tuple(f"{number}.root.json" for number in range(2, 66)), device.looker.look
    monkeypatch.setattr(
        device.looker,
        "look",
        lambda request: Missing(metadata=roots) if request.held.get("head") == false else look(request),
    )
    device.broker.publish(TOPICS.trust("head"), false, retain=True)
    wish(hub, package(2))
    device.broker.publish(TOPICS.trust("head"), false, retain=True)
    device.run(until=lambda one: one.broker.payloads("/need"))
    asked = decode(device.broker.payloads("/need")[-1], Need).metadata
    assert asked[0] == "head" and len(asked) == 64
    device.broker.publish(TOPICS.trust("head"), good, retain=True)
    device.run(until=proven(package(2)))


def _none() -> Any:
    raise AssertionError("there is no state")


def test_what_is_refused_is_told_by_one_event_and_not_by_one_per_turn() -> None:
    unlisted, elsewhere = package(2), package(1, model="other", requires=Requirement(arch=("x86_64",)))
    device, hub = running(package(1))
    hub.publish(unlisted, elsewhere)
    hub.listed = {path: sha256 for path, sha256 in hub.listed.items() if sha256 != unlisted.sha256}
    hub.roll_out(assign(unlisted), assign(elsewhere))
    device.run(turns=60)
    for _ in range(3):
        hub.stamp()
        device.broker.cut()
        device.run(turns=20)
    kinds = device.kinds()
    assert kinds.count("refused") == 1 and kinds.count("choose-failed") == 1
    refused = next(event for event in device.events() if event.kind == "refused")
    assert "fashion/2" in refused.text and "does not list it" in refused.text
    words = status_words(device.state() or _none(), is_running=True)
    assert "the offline hand does not list it" in words and "made for x86_64 and this is aarch64" in words


def test_a_wish_that_names_a_release_of_another_model_is_refused_once_with_both_names() -> None:
    other = package(1, model="other")
    device, hub = running(package(1))
    hub.publish(other)
    wrong = assign(other)
    hub.roll_out(replace(wrong, model="fashion"))
    device.run(turns=60)
    model = device.model()
    assert model is not None and "is a release of other and is wished for fashion" in model.why
    assert device.kinds().count("refused") == 1 and device.serving() == "fashion/1"


@pytest.mark.parametrize("why", ["unlisted", "wrong digest", "wrong kind"])
def test_a_wish_that_must_not_be_obeyed_waits_with_its_reason_and_counts_as_failed_after_its_deadline(why: str) -> None:
    second = package(2)
    if why == "wrong kind":
        release = replace(second.release, kind="runtime")
        second = Package(release, encode(release), second.chunks)
    device, hub = running(package(1))
    hub.publish(second)
    wanted = assign(second, deadline_s=120)
    if why == "unlisted":
        del hub.listed[wanted.release.path]
    if why == "wrong digest":
        wanted = replace(wanted, release=replace(wanted.release, sha256="ab" * 32))
    hub.roll_out(wanted)
    device.run(until=lambda one: "refused" in one.kinds())
    device.run(turns=3)
    model = device.model()
    assert model is not None and model.phase == "waiting" and model.wanted_sha256 == wanted.release.sha256
    words = model.why
    device.run(until=lambda one: one.phase() == "failed")
    device.run(turns=30)
    model = device.model() or _none()
    assert [row.stage for row in model.failures] == ["deadline"] and words in model.failures[0].reason
    assert device.serving() == "fashion/1"
    assert device.kinds().count("refused") == 1 and device.kinds().count("deadline-failed") == 1


def test_a_release_that_changes_the_interface_is_refused_unless_its_assignment_accepts_that() -> None:
    first, second = package(1, labels=("cat", "dog")), package(2, labels=("dog", "cat"))
    device, hub = running(first)
    wish(hub, second)
    device.run(until=lambda one: "refused" in one.kinds())
    device.run(turns=20)
    model = device.model() or _none()
    words = (
        "fashion/2 changes the interface of fashion/1, and its rollout does not accept that: label 0 was cat and is dog"
    )
    assert (model.phase, model.why) == ("waiting", words) and device.serving() == "fashion/1"
    assert [event.text for event in device.events() if event.kind == "refused"] == [words]
    assert not any(TOPICS.chunk(name) in device.broker.delivered for name in set(second.chunks) - set(first.chunks))

    hub.roll_out(assign(second, accept_interface_change=True))
    device.run(until=proven(second))
    hub.roll_out(assign(first))
    device.run(until=proven(first), turns=50)


def test_a_release_for_other_hardware_says_so_for_every_variant() -> None:
    first = package(1, requires=Requirement(arch=("x86_64",)))
    device, hub = fleet()
    wish(hub, first)
    device.boot().run(until=failed(first))

    model = device.model()
    assert model is not None and model.failures[0].stage == "choose"
    assert "made for x86_64 and this is aarch64" in model.why
    assert not [topic for topic in device.broker.delivered if "/chunk/" in topic]


def test_an_assignment_for_another_audience_leaves_the_device_idle_and_says_why() -> None:
    first = package(1)
    device, hub = fleet()
    hub.publish(first)
    hub.roll_out(assign(first, audience=Audience(tags=("canary",))))
    device.boot().run(until=lambda one: one.phase() == "idle")
    model = device.model()
    assert model is not None and "tagged canary" in model.why


def test_an_assignment_that_nobody_known_signed_is_refused() -> None:
    device, hub = fleet()
    device.boot().run(until=lambda one: one.state() is not None and one.state().region == "eu-west")  # type: ignore[union-attr]
    envelope = device.broker.retained[TOPICS.of_device(DEVICE, "assignment")]
    device.broker.publish(TOPICS.of_device(DEVICE, "assignment"), envelope.replace(b"c0ffee", b"c0ffe0"), retain=True)
    device.run(until=lambda one: "refused" in one.kinds())
    hub.assign_region("ap-south", number=1)
    device.run(turns=5)
    state = device.state()
    assert state is not None and state.region == "eu-west", "a number that is not higher changes nothing"
    hub.assign_region("ap-south", number=2)
    device.run(until=lambda one: one.state().region == "ap-south")  # type: ignore[union-attr]


def test_a_model_file_that_no_runtime_should_open_fails_before_any_trial() -> None:
    first = package(1, runtime="onnxruntime")
    device, hub = fleet()
    wish(hub, first)
    device.boot().run(until=failed(first))
    model = device.model()
    assert (
        model is not None and model.failures[0].stage == "verify" and "must not be opened" in model.failures[0].reason
    )
    assert device.launcher.trials == []


# --- the device itself


def test_s24_a_full_disk_at_every_write_leaves_what_runs_and_the_agent_up_and_says_no_space() -> None:
    first, second = package(1), package(2)
    device, hub = running(first)
    wish(hub, second)
    count = refuse_at = said = 0

    def full(operation: str, path: Path) -> bool:
        nonlocal count
        count += 1
        return refuse_at <= count < refuse_at + 3

    for at in range(1, 70):
        count, refuse_at = 0, at
        other = FakeDevice(device.broker.copy(), device.disk.survivor(NOTHING_LOST))
        other.disk.full = full
        other.boot().run(turns=5)
        assert other.serving() is not None, f"nothing serves after the disk was full from write {at}"
        other.run(until=proven(second))
        said += "no-space" in other.kinds()
    assert said > 5


def test_a_disk_that_stays_full_keeps_the_model_serving_and_the_reason_in_the_state() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.disk.full = lambda operation, path: True
    wish(hub, second)
    device.run(turns=60)

    assert device.serving() == "fashion/1"
    assert "no space: " in ((device.state() or _none()).trust_problem or "")
    assert device.kinds().count("no-space") == 1
    device.disk.full = None
    device.run(until=proven(second))
    assert device.kinds().count("no-space") == 1


@pytest.mark.parametrize("path", ["/state/trust.json", "/state/facts.json", "/state/chunks", "/state/slots"])
def test_a_full_disk_is_told_once_and_what_waited_goes_on_seconds_after_space_was_freed(path: str) -> None:
    second = package(2)
    device, hub = running(package(1))
    device.probe.free_bytes = 200_000
    device.disk.full = lambda operation, where: str(where).startswith(path)
    wish(hub, second)
    device.run(until=lambda one: "no-space" in one.kinds())
    device.run(turns=60)
    state = device.state() or _none()
    assert "no space" in " ".join([state.trust_problem or "", *(row.why for row in state.models)])
    assert device.kinds().count("no-space") == 1 and device.serving() == "fashion/1"

    device.disk.full, device.probe.free_bytes = None, 10**9
    began = device.clock.monotonic()
    device.run(until=lambda one: one.serving() == "fashion/2")
    assert device.clock.monotonic() - began < 20
    assert device.kinds().count("no-space") == 1


def test_a_disk_on_which_nothing_can_be_removed_keeps_the_model_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    device, _ = running(package(1))

    def refuse(path: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(device.disk, "unlink", refuse)
    device.disk.write(STATE / "chunks" / ("a" * 64), b"of nothing")
    device.stop()
    device.boot()
    device.run(turns=100)
    assert device.serving() == "fashion/1"


def test_too_little_space_is_said_before_anything_is_fetched() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.probe.free_bytes = 1500
    device.clock.advance(10)
    device.broker.delivered.clear()
    wish(hub, second)
    device.run(until=lambda one: "no space" in (one.model() or _none()).why)
    device.run(turns=30)
    assert device.kinds().count("no-space") == 1
    assert not [topic for topic in device.broker.delivered if "/chunk/" in topic]
    device.probe.free_bytes = 10**9
    device.run(turns=4)
    assert [topic for topic in device.broker.delivered if "/chunk/" in topic], "seconds after there is space"
    device.run(until=proven(second))


def test_s26_a_damaged_state_is_set_aside_once_and_rebuilt_from_what_is_on_the_disk() -> None:
    first = package(1)
    device, _ = running(first)
    device.disk.write(STATE / "facts.json", b"\x00\x00{broken")
    device.disk.write(STATE / "outbox" / "outbox.db", b"not a database" * 100)
    device.broker.delivered.clear()
    device.boot().run(until=proven(first))

    assert "store-damaged" in device.kinds()
    assert not [topic for topic in device.broker.delivered if "/chunk/" in topic]
    assert device.disk.list(STATE).count("facts.json.bad") == 1


def test_s28_a_device_at_1970_installs_and_marks_its_windows_and_a_clock_that_comes_right_ends_no_deadline() -> None:
    first = package(1)
    device, hub = fleet()
    device.clock.wall = 60.0
    hub.publish(first)
    hub.roll_out(assign(first, deadline_s=600))
    device.boot().run(until=lambda one: one.serving() == "fashion/1")
    device.run(until=lambda one: one.windows())
    assert not any(row.clock_trusted for row in device.windows())
    device.clock.wall = 1_800_000_000.0
    device.run(until=proven(first))
    assert (device.model() or _none()).failures == ()
    assert device.windows()[-1].clock_trusted


def test_s28_a_look_that_the_clock_prevents_says_clock_and_is_tried_again() -> None:
    first = package(1)
    device, hub = running(first)
    device.clock.wall = 60.0
    hub.stamp(not_before=1_000_000)
    device.run(until=lambda one: "clock" in ((one.state() or _none()).trust_problem or ""))
    assert device.serving() == "fashion/1"
    device.clock.wall = 1_800_000_000.0
    device.run(until=lambda one: (one.state() or _none()).trust_problem is None)


def test_s34_after_a_boot_without_network_the_active_model_serves_before_anything_is_connected() -> None:
    device, _ = running(package(1))
    device.broker.reachable = False
    device.broker.cut()
    began = device.clock.monotonic()
    device.boot().run(until=lambda one: one.serving() == "fashion/1", turns=10)
    assert device.clock.monotonic() - began < 15


def test_s36_a_board_without_battery_or_sensors_is_not_held_back_and_tells_nothing_it_does_not_have() -> None:
    first = package(1)
    device, hub = fleet()
    wish(hub, first, policy=Policy(battery_floor_percent=50, max_temperature_c=60, telemetry_interval_s=5))
    device.boot().run(until=proven(first))


def test_s36_a_battery_that_appears_later_holds_back_what_is_new_and_never_what_serves() -> None:
    second = package(2)
    device, hub = running(package(1))
    device.probe.window = DeviceWindow(battery_percent=20, battery_charging=False)
    device.clock.advance(10)
    wish(hub, second, policy=Policy(battery_floor_percent=50, telemetry_interval_s=5))
    device.run(until=lambda one: "battery" in (one.model() or _none()).why)
    assert device.phase() == "waiting" and device.serving() == "fashion/1"
    device.probe.window = DeviceWindow(battery_percent=21, battery_charging=True)
    device.run(until=proven(second))


def test_a_release_that_is_not_proven_by_its_deadline_counts_as_failed() -> None:
    second = package(2)
    device, hub = running(package(1))
    hub.publish(second, chunks=False)
    hub.roll_out(assign(second, deadline_s=300))
    device.run(until=failed(second))
    assert (device.model() or _none()).failures[0].stage == "deadline"
    assert device.serving() == "fashion/1"


def test_s08_an_agent_killed_in_every_state_resumes_within_a_minute() -> None:
    second = package(2)
    for turns in range(1, 30):
        device, hub = running(package(1))
        wish(hub, second)
        device.run(turns=turns)
        device.broker.cut(keep_sessions=False)
        began = device.clock.monotonic()
        device.boot().run(until=lambda one: one.serving() is not None, turns=10)
        assert device.clock.monotonic() - began < 60
        device.run(until=proven(second))
