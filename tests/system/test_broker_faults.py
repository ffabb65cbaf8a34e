"""A broker that dies, forgets, or carries what is not right: the rollout completes and serving never stops."""

import os
import signal
from typing import Any

import pytest

from tests.fakes.fleet import WEST, Fleet, Member

from .conftest import MakeFleet
from .test_kills import BALLAST, SLOWLY, fetching


@pytest.mark.parametrize("persistence", [False, True], ids=["it forgets", "it remembers what was long ago"])
def test_a_broker_killed_in_the_middle_of_a_rollout(make_fleet: MakeFleet, persistence: bool) -> None:
    fleet = make_fleet([Member("one", "pi5"), Member("two", "pi4")], policies=SLOWLY, persistence=persistence)
    first = fleet.release(ballast=50_000)
    fleet.roll_out(first, [WEST])
    # With persistence it saves its memory now: what it says after the kill is old then, which is worse than nothing.
    fleet.broker.restart()
    second = fleet.release(ballast=BALLAST)
    with fleet.load("one") as one, fleet.load("two") as two:
        fleet.until("both answer", lambda: one.answered > 5 and two.answered > 5)
        fleet.until("both are back", lambda: all(fleet.device(name)["online"] for name in fleet.members))
        fleet.begin(second, [WEST])
        fleet.until("it is fetched", lambda: fetching(fleet, "one") or fetching(fleet, "two"))
        fleet.broker.kill()
        answered = one.answered, two.answered
        fleet.until(
            "both serve without it", lambda: one.answered > answered[0] + 20 and two.answered > answered[1] + 20
        )
        fleet.broker.start()
        fleet.until_complete(second, [WEST])
        fleet.until("both answer with it", lambda: one.by_release[second] > 5 and two.by_release[second] > 5)
    assert one.failures == two.failures == []


def test_chunks_that_are_altered_missing_and_too_long_are_refused_needed_and_come_again(make_fleet: MakeFleet) -> None:
    fleet = make_fleet([Member("one", "pi5")])
    first = fleet.release()
    fleet.roll_out(first, [WEST])
    # While the device is away, the broker's memory is spoilt; nobody tells the server.
    fleet.parts.kill("one")
    second = fleet.release(ballast=400_000)
    fleet.begin(second, [WEST])
    with fleet.intruder() as intruder:
        wanted = chunks(fleet, second)
        fleet.until("all is retained", lambda: wanted <= set(intruder.retained(f"{fleet.topics.prefix}/chunk")))
        altered, missing, too_long = sorted(wanted)[:3]
        retained = intruder.retained(f"{fleet.topics.prefix}/chunk")
        flipped = bytearray(retained[altered])
        flipped[len(flipped) // 2] ^= 1
        intruder.put(altered, bytes(flipped))
        intruder.put(missing, b"")
        intruder.put(too_long, retained[too_long] + bytes(100_000))
        # It stands still and cannot help, until the device has said what it lacks.
        os.kill(fleet.parts.pid("server"), signal.SIGSTOP)
        fleet.start_agent("one")
        with fleet.load("one") as load:
            fleet.until("it serves", lambda: load.answered > 5)
            so_far = len(load.failures)
            fleet.until("status says it", lambda: "; and 2 more like it" in said(fleet)["why"])
            row = said(fleet)
            assert row["phase"] == "fetching" and f"fetching {second}" in row["why"]
            assert "; chunk " in row["why"] and "; the server was asked for it" in row["why"]
            assert row["running"]["release"] == first
            os.kill(fleet.parts.pid("server"), signal.SIGCONT)
            fleet.until_complete(second, [WEST])
            fleet.until("it answers", lambda: load.by_release[second] > 5)
            assert len(load.failures) == so_far
        healed = intruder.retained(f"{fleet.topics.prefix}/chunk")
    assert {healed[topic] for topic in (altered, missing, too_long)} == {
        retained[topic] for topic in (altered, missing, too_long)
    }
    assert fleet.get("/healthz")["counters"]["needs_answered"] >= 3
    for topic in (altered, too_long):
        name = topic.rpartition("/")[2][:12]
        assert sum(name in text for text in refused(fleet)) == 1, refused(fleet)


def chunks(fleet: Fleet, release: str) -> set[str]:
    """Return the topics of the chunks of the release's variant that a Pi 5 takes, of its model file."""
    manifest, _ = fleet.trust.repository.manifest(fleet.trust.ref(release))
    variant = manifest.variant("wide")
    assert variant is not None
    return {fleet.topics.chunk(chunk.sha256) for chunk in manifest.file(variant.files[0]).chunks}


def said(fleet: Fleet) -> dict[str, Any]:
    """Return what `agent status` says of the model."""
    return next((row for row in fleet.status("one")["models"] if row["model"] == "fashion"), {"why": ""})


def refused(fleet: Fleet) -> list[str]:
    return fleet.events("one", "bad-chunk")
