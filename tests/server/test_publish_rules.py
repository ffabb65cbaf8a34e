"""What should be retained, in which order; whose needs are answered. Pure."""

from datetime import UTC, datetime

from edgefleet_protocol.rollout import Policy, Rollout
from edgefleet_protocol.topics import Topics
from edgefleet_server.publish.needs import BURST, KEEP_S, Needs
from edgefleet_server.publish.picks import picked
from edgefleet_server.publish.wanted import Wanted, marker, wanted
from tests.fakes.scripted_device import ZERO

from .records import NEW, OLD, assignment, device
from .releases import digest, release

TOPICS = Topics("demo")


def make(chunks: dict[str, int], budget: int = 10_000, asked: tuple[tuple[str, int], ...] = ()) -> Wanted:
    return wanted(
        TOPICS,
        chunks=chunks,
        asked=asked,
        targets={digest(1): b"manifest", digest(2): b"rollout"},
        metadata={"1.root.json": b"root", "timestamp.json": b"now", "head": b"{}"},
        assignments={"one": b"envelope"},
        budget_bytes=budget,
    )


def test_whoever_reads_a_timestamp_finds_what_it_names() -> None:
    order = [item.topic.removeprefix("edgefleet/v1/demo/").split("/")[0] for item in make({digest(9): 100}).items]
    assert order == ["chunk", "target", "target", "device", "trust", "trust", "trust"]
    assert make({}).items[-1].topic.endswith("trust/head")
    assert make({}).items[-2].topic.endswith("trust/timestamp.json")


def test_beyond_the_budget_chunks_wait_to_be_asked_for_and_what_was_asked_for_goes_first() -> None:
    documents = sum(item.bytes for item in make({}).items)
    found = make({digest(5): 100, digest(6): 100}, budget=documents + 200, asked=((digest(7), 100),))
    assert [item.digest for item in found.items if item.payload is None] == [digest(7), digest(5)]
    assert found.left_out == (digest(6),)


def test_the_note_tells_every_difference() -> None:
    notes = {marker({}), marker({"a": "1"}), marker({"a": "2"}), marker({"b": "1"}), marker({"a": "1", "b": "1"})}
    assert len(notes) == 5
    assert marker({"a": "1", "b": "2"}) == marker({"b": "2", "a": "1"})


def test_chunks_are_picked_by_what_the_known_devices_take() -> None:
    rollout = Rollout(
        region="eu-west",
        serial=1,
        issued=datetime(2026, 1, 1, tzinfo=UTC),
        policy=Policy(),
        assignments=(assignment(NEW, 2), assignment(OLD, 1)),
    )
    manifests = {NEW: release(2), OLD: release(1)}

    def names(*fleet: object) -> dict[str, set[str]]:
        found = picked({"eu-west": rollout}, manifests, fleet)  # type: ignore[arg-type]
        return {sha256: {variant.name for variant in variants} for sha256, (_, variants) in found.items()}

    assert names() == {}
    assert names(device("pi")) == {NEW: {"large"}, OLD: {"large"}}
    assert names(device("pi"), device("zero", hardware=ZERO)) == {NEW: {"large", "small"}, OLD: {"large", "small"}}
    assert names(device("far", region="ap-south"), device("new", region=None), device("mute", said=False)) == {}


def test_a_chunk_that_many_ask_for_is_sent_once() -> None:
    needs = Needs()
    assert needs.ask("one", ["c"], 0.0) == (["c"], 0)
    assert needs.ask("two", ["c", "c"], 1.0) == ([], 0)
    assert needs.ask("two", ["c"], 6.0) == (["c"], 0)


def test_a_device_that_asks_without_end_gets_its_share_and_no_more() -> None:
    needs = Needs()
    sent, too_many = needs.ask("greedy", [f"c{n}" for n in range(BURST + 500)], 0.0)
    assert (len(sent), too_many) == (BURST, 500)
    assert needs.ask("modest", ["d"], 0.0) == (["d"], 0)
    later, _ = needs.ask("greedy", [f"e{n}" for n in range(1000)], 1.0)
    assert 0 < len(later) < 100


def test_what_was_asked_for_is_kept_for_a_while() -> None:
    needs = Needs()
    needs.keep(["a", "b"], 0.0)
    needs.keep(["a"], 10.0)
    assert needs.kept(20.0) == ("b", "a")
    assert needs.kept(KEEP_S + 5.0) == ("a",)
    assert needs.kept(KEEP_S + 20.0) == ()
