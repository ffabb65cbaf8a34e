"""What a rollout would do, before it is begun."""

from dataclasses import replace

import msgspec

from edgefleet_protocol.choose import choose
from edgefleet_protocol.explain import render
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.rollout import Audience, Policy
from edgefleet_server.rollouts.plan import plan_of
from tests.fakes.scripted_device import PI4, ZERO

from .planned import known_of, plan
from .records import NEW, OLD, assignment, device
from .releases import release

STAGED = assignment(stages=(1.0, 100.0))


def test_the_plan_prints_the_table_that_the_device_prints() -> None:
    fleet = [device("pi"), device("zero", hardware=ZERO)]
    found = plan("eu-west", release(), STAGED, Policy(), fleet, assignment(OLD, 1))
    assert found.refused is None
    assert [(row.device, row.choice.taken and row.choice.taken.name, row.stage) for row in found.devices] == [
        ("pi", "large", 1),
        ("zero", "small", 1),
    ]
    texts = [row["text"] for row in found.to_json()["devices"]]
    assert texts == [render(choose(release(), row, Policy()), "fashion/2", row) for row in (PI4, ZERO)]


def test_the_broker_keeps_each_chunk_once_whatever_the_fleet() -> None:
    few = plan("eu-west", release(), STAGED, Policy(), [device("a")], None)
    many = plan("eu-west", release(), STAGED, Policy(), [device(f"a{n}") for n in range(9)], None)
    assert few.wire_bytes == many.wire_bytes == 5 * 80


def test_who_is_left_out_and_why() -> None:
    fleet = [
        device("silent", said=False),
        device("held", tags=("frozen",)),
        device("bare", hardware=msgspec.structs.replace(PI4, runtimes=())),
        device("zero", hardware=ZERO),
        device("far", region="ap-south"),
    ]
    only_pi4 = msgspec.structs.replace(STAGED, audience=Audience(hardware=("pi4",)))
    found = plan("eu-west", release(), only_pi4, Policy(), fleet, None)
    reasons = {row.device: row.why for row in found.left_out}
    assert reasons.keys() == {"silent", "held", "bare", "zero"}
    assert "has not said what it is" in reasons["silent"]
    assert "tagged frozen" in reasons["held"]
    assert "onnxruntime, which is not installed" in reasons["bare"]
    assert "it is for pi4 and this is pi-zero-2-w" in reasons["zero"]


def test_a_change_of_interface_is_said_and_breaks_the_plan_unless_it_is_accepted() -> None:
    old = release(1)
    other = msgspec.structs.replace(old, interface=msgspec.structs.replace(old.interface, labels=("cat",)))
    words = "against fashion/1, there were 1 labels and are 0"
    found = plan("eu-west", release(), STAGED, Policy(), [device("pi")], assignment(OLD, 1), [other])
    assert found.breaks == f"fashion/2 changes the interface in eu-west: {words}" and found.refused is None
    accepted = msgspec.structs.replace(STAGED, accept_interface_change=True)
    found = plan("eu-west", release(), accepted, Policy(), [device("pi")], assignment(OLD, 1), [other])
    assert found.breaks is None and found.to_json()["interface_changes"] == [words]
    assert plan("eu-west", release(), STAGED, Policy(), [device("pi")], assignment(OLD, 1), [old]).breaks is None


def test_a_rollout_that_would_do_nothing_is_refused_with_the_reason() -> None:
    def refused(fleet: list[object], base: object = None) -> str | None:
        return plan("eu-west", release(), STAGED, Policy(), fleet, base).refused  # type: ignore[arg-type]

    assert refused([]) == "no device is known in eu-west"
    assert refused([device("silent", said=False)]) == "1 device in eu-west, and none would run it"
    assert refused([device("pi")], assignment(NEW, 2)) == "eu-west runs fashion/2 already"
    assert refused([device("pi")], assignment(OLD, 1)) is None


def test_only_chunks_that_a_device_lacks_are_moved() -> None:
    held = known_of(device("pi", running=OLD, proven=True), "fashion")
    held = replace(held, running=(OLD, "small"))
    bare = known_of(device("other"), "fashion")

    def moved(running: dict[str, Release]) -> dict[str, int]:
        found = plan_of("eu-west", release(), STAGED, Policy(), [held, bare], None, (), running)
        return {row.examples[0]: row.move_bytes for row in found.groups}

    assert moved({}) == {"pi": 5 * 80, "other": 5 * 80}
    assert moved({OLD: release(1)}) == {"pi": 5 * 80, "other": 5 * 80}, "another release with other chunks"
    # `large` and `small` share the golden files: two chunks of five are there already, and one more is small's own.
    assert moved({OLD: release(2)}) == {"pi": 3 * 80, "other": 5 * 80}


def test_like_devices_are_one_group_and_a_figure_apart_is_no_difference() -> None:
    def with_storage(number: int) -> Hardware:
        return msgspec.structs.replace(PI4, storage_bytes=PI4.storage_bytes + number)

    fleet = [device(f"d{n}", hardware=with_storage(n)) for n in range(30)]
    (group,) = plan("eu-west", release(), STAGED, Policy(), fleet, None).groups
    assert (group.count, len(group.examples), sum(group.stages)) == (30, 3, 30)


def test_a_class_that_nothing_fits_is_one_wish_whatever_its_memory() -> None:
    only_large = msgspec.structs.replace(release(), variants=release().variants[:1])
    fleet = [
        device(f"z{n}", hardware=msgspec.structs.replace(ZERO, memory_bytes=500_000_000 + 1_000_000 * n))
        for n in range(9)
    ]
    found = plan("eu-west", only_large, STAGED, Policy(), fleet, None)
    ((name, count, why),) = found.no_fit
    assert (name, count, "of memory, more than 60% of the" in why) == ("pi-zero-2-w", 9, True)
    assert found.refused == "9 devices in eu-west, and none would run it"
