"""Only what may leave is in a window that leaves; and every field belongs to a group, so that somebody decides about it."""

from hypothesis import given
from hypothesis import strategies as st

from edgefleet_protocol.leaving import ALWAYS, GROUPS, both, leaving, unknown
from edgefleet_protocol.sketch import SketchBuilder
from edgefleet_protocol.telemetry import DeviceWindow, ModelWindow, Window

groups = st.lists(st.sampled_from(sorted(GROUPS)), unique=True).map(tuple)


def window() -> Window:
    sketch = SketchBuilder()
    sketch.add(0.01)
    model = ModelWindow(
        model="fashion",
        release="fashion/1",
        release_sha256="a" * 64,
        variant="int8",
        requests=7,
        errors=1,
        latency=sketch.build(),
        confidence=sketch.build(),
        memory_bytes=5,
    )
    device = DeviceWindow(cpu_percent=1.0, temperature_c=50.0, throttled=("capped",), battery_percent=80.0, power_w=3.0)
    return Window(start_s=1.0, seconds=60.0, boot="b", started_monotonic_s=2.0, device=device, models=(model,))


def test_every_field_that_is_measured_belongs_to_one_group_or_always_leaves() -> None:
    named = [field for fields in GROUPS.values() for field in fields]
    there = {f"device.{name}" for name in DeviceWindow.__struct_fields__}
    there |= {f"model.{name}" for name in ModelWindow.__struct_fields__}
    assert len(named) == len(set(named))
    assert there - set(named) - ALWAYS == set(), "give the new field a group in leaving.GROUPS"


def test_only_what_is_named_leaves_and_the_counts_always_do() -> None:
    left = leaving(window(), ("heat", "latency"))
    assert left.device == DeviceWindow(temperature_c=50.0, throttled=("capped",))
    (model,) = left.models
    assert (model.requests, model.errors, model.variant, model.latency.count) == (7, 1, "int8", 1)
    assert model.confidence is None and model.memory_bytes is None
    bare = leaving(window(), ("none",))
    assert bare.device == DeviceWindow() and bare.models[0].latency.count == 0 and bare.models[0].requests == 7
    assert leaving(window(), ()) == window()


def test_a_group_of_a_later_version_lets_nothing_more_out() -> None:
    assert leaving(window(), ("heat", "smell")) == leaving(window(), ("heat",))
    assert unknown(("heat", "smell")) == ("smell",)


@given(groups, groups)
def test_two_rules_let_out_what_both_do(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    assert leaving(leaving(window(), first), second) == leaving(window(), both(first, second))
