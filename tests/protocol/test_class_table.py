"""What a class measured comes after what a device measured itself, and before a guess."""

from edgefleet_protocol.choose import choose
from edgefleet_protocol.class_table import with_class_table
from edgefleet_protocol.rollout import ClassRow, Policy
from tests.protocol.sample import device, release

FASTEST = Policy(objective="latency")


def test_without_a_table_it_is_the_same_release():
    made = release()
    assert with_class_table(made, ()) is made
    other = (ClassRow(variant="no-such-variant", hardware_class="pi4", p50_s=1.0),)
    assert with_class_table(made, other) == made


def test_the_order_of_sources_is_here_class_guess():
    made = release()
    names = [variant.name for variant in made.variants]
    slow = with_class_table(made, [ClassRow(variant=names[0], hardware_class="pi4", p50_s=9.0, devices=7)])
    found = {row.variant: row.latency for row in choose(slow, device(), FASTEST).table}
    assert (found[names[0]].p50_s, found[names[0]].source) == (9.0, "measured on its class")
    here = choose(slow, device(), FASTEST, measured={names[0]: 0.5}).table
    assert {row.variant: row.latency.source for row in here}[names[0]] == "measured here"


def test_a_table_changes_latencies_of_its_class_and_nothing_else():
    made = release()
    name = made.variants[0].name
    told = with_class_table(made, [ClassRow(variant=name, hardware_class="pi4", p50_s=9.0)])
    for before, after in zip(made.variants, told.variants, strict=True):
        assert after.requires == before.requires and after.files == before.files and after.golden == before.golden
        others = [row for row in before.latency if (row.hardware_class, before.name) != ("pi4", name)]
        assert all(row in after.latency for row in others)
