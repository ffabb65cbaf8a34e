"""What is started is what was planned: which part changed meanwhile is said, and no device comes or goes unnoticed."""

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.rollout import Policy
from edgefleet_server.rollouts.plan import plan_of
from edgefleet_server.rollouts.plan_digest import MOST, Parts, differences, of_devices, parse, together
from edgefleet_server.store.devices import Device
from tests.fakes.scripted_device import ZERO

from .planned import known_of
from .records import NEW, OLD, POLICY, assignment, device
from .releases import release

STAGED = assignment(stages=(50.0, 100.0))
FLEET = [device(f"d{number}") for number in range(8)]


def parts(fleet: list[Device] = FLEET, policy: Policy = POLICY, over: str = OLD, cut_short: str = "") -> Parts:
    members = [known_of(row, "fashion") for row in fleet]
    return plan_of("eu-west", release(), STAGED, policy, members, assignment(over, 1), cut_short=cut_short).parts


def test_each_part_that_changed_is_named() -> None:
    planned = parts()
    assert differences(planned, parts(list(reversed(FLEET)))) == (), "the order in which devices are read is no matter"
    assert differences(planned, parts(policy=Policy(objective="latency"))) == (
        "the order is another one: its stages, gates, audience or the region's policy",
        *differences(planned, replace(planned, takes=parts(policy=Policy(objective="latency")).takes)),
    )
    for other in (parts(over=NEW), parts(cut_short="fashion/1 (rollout 3)")):
        assert differences(planned, other) == ("what the region runs, or what is rolled out there, is another release",)
    assert (
        differences(planned, parts([*FLEET[:7], device("d7", hardware=ZERO)]))[0] == "some class takes another variant"
    )


def test_a_device_that_came_is_told_by_number_and_one_that_another_replaced_too() -> None:
    planned = parts()
    low, high = planned.counts
    (more,) = differences(planned, parts([*FLEET, device("new")]))
    assert (
        more.startswith(f"the devices of the stages were {low}, {high} (8 devices) and are ") and "(9 devices)" in more
    )
    swapped = next(found for n in range(99) if (found := parts([*FLEET[:7], device(f"x{n}")])).counts == planned.counts)
    assert differences(planned, swapped) == (
        f"the stages have as many devices as before ({low}, {high} (8 devices)), and not the same ones",
    )


def test_a_line_is_read_back_and_what_is_none_is_told() -> None:
    planned = parts()
    assert parse(str(planned)) == planned
    assert len(str(replace(planned, counts=(10**8,) * 32))) <= MOST
    for text in ("", "a" * 64, f"{planned}-", f"{planned}x", str(planned)[1:]):
        assert parse(text) is None


def test_regions_together_have_one_line_in_which_each_counts() -> None:
    one, other = parts(), parts(FLEET[:5])
    both = together([one, other])
    assert both.counts == tuple(map(sum, zip(one.counts, other.counts, strict=True)))
    assert together([one]) == one and together([other, one]).devices != both.devices


@given(
    st.lists(st.lists(st.sampled_from("abcdef"), unique=True), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_only_who_is_in_which_stage_matters(stages: list[list[str]], random: Random) -> None:
    mixed = [random.sample(names, len(names)) for names in stages]
    assert of_devices(mixed) == of_devices(stages)
    assert of_devices([*stages, ["g"]]) != of_devices(stages)
    assert of_devices([[*stages[0], "g"], *stages[1:]]) != of_devices(stages)
