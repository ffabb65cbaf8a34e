"""The session layer when the broker or the link is bad: what is asked, how often, and what it costs. Numbers are scenarios."""

from edgefleet_agent.knowledge import ASK_AGAIN, ASK_AGAIN_S, MAX_ENVELOPE_BYTES, Knowledge
from edgefleet_agent.link.window import Window
from edgefleet_agent.seams import Missing
from edgefleet_agent.telling import ASSERT_AGAIN_S
from edgefleet_protocol.codec import decode
from edgefleet_protocol.manifest import Chunk
from edgefleet_protocol.messages import Need
from edgefleet_protocol.rollout import Policy
from edgefleet_protocol.telemetry import DeviceWindow
from edgefleet_protocol.topics import Topics
from tests.fakes.device import DEVICE, FLEET, FakeDevice, assign, fleet, package, proven
from tests.fakes.disk import FakeDisk

TOPICS = Topics(FLEET)
DAY_S = 86400.0


def needs(device: FakeDevice) -> list[str]:
    return [name for payload in device.broker.payloads("/need") for name in decode(payload, Need).chunks]


def test_s14_a_kept_session_is_freed_of_filters_for_chunks_that_are_no_longer_wanted() -> None:
    window = Window()
    window.want([Chunk(sha256=f"{number:064x}", bytes=99, wire_bytes=100) for number in range(3)])
    asked = window.moves(0.0).subscribe
    window.forget()
    window.want([Chunk(sha256=asked[0], bytes=99, wire_bytes=100)])
    moves = window.moves(1.0)
    assert moves.subscribe == asked[:1] and set(moves.unsubscribe) == set(asked)


def test_s14_a_state_that_did_not_change_is_asserted_again_after_hours() -> None:
    device, _ = fleet()
    device.boot().run(turns=30)
    topic = TOPICS.of_device(DEVICE, "state")
    device.broker.retained.pop(topic)
    device.run(turns=20)
    assert topic not in device.broker.retained
    device.clock.advance(ASSERT_AGAIN_S)
    device.run(until=lambda one: topic in one.broker.retained, turns=5)


def test_s19_a_download_that_begins_two_hours_after_the_offer_keeps_its_part_and_asks_for_what_is_gone() -> None:
    device, hub = fleet()
    wanted = package(1, size=100_000)
    hub.publish(wanted)
    hub.roll_out(assign(wanted), policy=Policy(battery_floor_percent=40))
    device.boot().run(until=lambda one: len(one.agent.store.chunks._here) > 8)
    device.probe.window = DeviceWindow(battery_percent=10.0, battery_charging=False)
    device.run(turns=3)
    part = set(device.agent.store.chunks._here)
    gone = [topic for topic in device.broker.retained if "/chunk/" in topic]
    for topic in gone:
        del device.broker.retained[topic]
    device.clock.advance(2 * 3600)
    device.run(turns=3)
    device.probe.window = DeviceWindow(battery_percent=90.0, battery_charging=True)
    device.run(until=needs)
    asked = set(needs(device))
    assert not asked & part, "what was here is not asked for again"
    hub.publish(wanted)
    device.run(until=proven(wanted))
    assert all(device.broker.delivered[TOPICS.chunk(name)] == 1 for name in part)
    assert (device.model() or _none()).failures == ()


def test_s20_silence_and_wrong_bytes_have_a_budget_each_and_a_broker_that_is_away_uses_none_of_it() -> None:
    silent, wrong = (Chunk(sha256=f"{number:064x}", bytes=99, wire_bytes=60_000) for number in (1, 2))
    window, now, asked, told = Window(), 0.0, {silent.sha256: 0, wrong.sha256: 0}, 0
    while now < 7 * DAY_S:
        window.want([silent, wrong])
        moves = window.moves(now)
        told += len(moves.need)
        for name in moves.subscribe:
            asked[name] += 1
            if name == wrong.sha256:
                window.bad(name, "other bytes", now + 1)
        now = max(now + 1, window.due(now) or now + 30)
    days = now / DAY_S
    assert asked[wrong.sha256] / days < 160, "less than 10 MB a day for one chunk that stays wrong"
    assert asked[silent.sha256] / days < 160 and told / days < 320
    assert "was refused" in window.troubles()[wrong.sha256] and "does not come" in window.troubles()[silent.sha256]
    window.want([])
    assert window.moves(now).subscribe == (), "and a new wish ends it at once"

    device, hub = fleet()
    wanted = package(1)
    hub.publish(wanted)
    hub.roll_out(assign(wanted))
    device.broker.reachable = False
    device.boot()
    for _ in range(20):
        device.turn()
        device.clock.advance(3600)
    device.broker.reachable = True
    device.run(until=proven(wanted))
    assert needs(device) == []


def test_s20_a_document_that_nobody_has_is_asked_for_ever_more_seldom_and_at_once_in_a_new_session() -> None:
    knowledge, now, asked = Knowledge(), 0.0, []
    knowledge.note_missing(Missing(metadata=("7.snapshot.json",)), now)
    while now < DAY_S:
        now = knowledge.patience(now)
        asked += [now] * len(knowledge.overdue(now))
    assert asked[:3] == [15.0, 30.0, 60.0]
    assert len(asked) < DAY_S / (ASK_AGAIN_S * ASK_AGAIN[-1]) + len(ASK_AGAIN)
    knowledge.new_session(now)
    assert knowledge.patience(now) == now + ASK_AGAIN_S


def test_s21_a_link_that_is_lost_again_and_again_costs_each_chunk_once() -> None:
    device, hub = fleet()
    wanted = package(1, size=20_000)
    hub.publish(wanted)
    hub.roll_out(assign(wanted))
    device.boot()
    kept: dict[str, int] = {}
    lost = 0
    while not proven(wanted)(device):
        device.turn()
        if lost < 40:
            lost += 1
            here = [TOPICS.chunk(name) for name in device.agent.store.chunks._here]
            kept |= {topic: device.broker.delivered[topic] for topic in here if topic not in kept}
            device.broker.cut(keep_sessions=lost % 2 == 0)
        assert len(device.broker.log) < 4000
    assert lost >= 10 and len(kept) > 40
    assert all(device.broker.delivered[topic] == count for topic, count in kept.items())


def test_a_look_that_missed_the_head_does_not_end_the_subscription_to_it() -> None:
    knowledge = Knowledge()
    knowledge.came("trust", "timestamp.json", b"1")
    knowledge.note_missing(Missing(metadata=("head", "2.root.json")), 0.0)
    knowledge.came("trust", "timestamp.json", b"2")
    assert knowledge.take_stale() == [("trust", "2.root.json")]


def test_an_assignment_without_end_is_not_kept() -> None:
    knowledge = Knowledge()
    knowledge.came_envelope(bytes(MAX_ENVELOPE_BYTES))
    assert knowledge.envelope is not None
    knowledge.came_envelope(bytes(MAX_ENVELOPE_BYTES + 1))
    assert knowledge.envelope is None


def _none() -> "FakeDisk":
    raise AssertionError("there is no state")
