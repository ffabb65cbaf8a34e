"""Choosing: each constraint in its words, each objective, and ties that always end the same way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edgefleet_protocol.choose import Latency, choose, estimate
from edgefleet_protocol.hardware import Hardware, RuntimeInfo
from edgefleet_protocol.manifest import LatencyRow, Requirement, Variant
from edgefleet_protocol.rollout import Policy
from tests.protocol.sample import device, release, variant

MB = 1_000_000


def needing(**requires: object) -> Variant:
    return variant("v", requires=Requirement(**requires))  # type: ignore[arg-type]


def verdict(candidate: Variant, hardware: Hardware, policy: Policy | None = None, **more: object) -> str | None:
    """Why the only candidate was not taken, or None when it was."""
    choice = choose(release([candidate]), hardware, policy or Policy(), **more)  # type: ignore[arg-type]
    (row,) = choice.table
    assert (choice.taken is None) == (row.verdict == "excluded")
    return row.reason if choice.taken is None else None


FAST_HERE = {"measured": {"v": 0.030}}
ON_CLASS = variant("v", latency={"pi4": (0.030, "measured")})
PREDICTED = variant("v", latency={"pi4": (0.030, "predicted")})

EXCLUDED = {
    "architecture": (needing(arch=("x86_64", "riscv64")), device(), Policy(), {}, "made for x86_64, riscv64 and this is aarch64"),
    "features": (
        needing(features=("asimd", "asimddp", "i8mm")), device(), Policy(), {}, "needs asimddp, i8mm, which this CPU lacks",
    ),
    "runtime": (variant("v", runtime="tflite"), device(), Policy(), {}, "needs the runtime tflite, which is not installed"),
    "provider": (
        needing(provider="CUDAExecutionProvider"), device(), Policy(), {},
        "needs CUDAExecutionProvider; onnxruntime here has CPUExecutionProvider",
    ),
    "runtime version": (
        needing(min_runtime="1.24.0"), device(), Policy(), {}, "needs onnxruntime 1.24.0 and this is 1.23.2",
    ),
    "IR": (
        needing(ir=12), device(), Policy(), {},
        "has IR 12 and opset 17; onnxruntime 1.23.2 opens IR up to 11 and opset up to 23",
    ),
    "opset": (
        needing(opset=24), device(), Policy(), {},
        "has IR 8 and opset 24; onnxruntime 1.23.2 opens IR up to 11 and opset up to 23",
    ),
    "memory of the device": (
        needing(memory_bytes=301 * MB), device(memory_bytes=500 * MB), Policy(), {},
        "needs 301 MB of memory, more than 60% of the 500 MB here",
    ),
    "storage": (
        variant("v", size=9 * MB), device(storage_bytes=17 * MB), Policy(), {},
        "needs 18 MB of storage and the disk has 17 MB",
    ),
    "memory budget": (
        needing(memory_bytes=101 * MB), device(), Policy(memory_budget_bytes=100 * MB), {},
        "needs 101 MB of memory and the region allows 100 MB",
    ),
    "download budget": (
        variant("v", size=9 * MB), device(), Policy(download_budget_bytes=2 * MB), {},
        "is 9.01 MB to download and the region allows 2.00 MB",
    ),
    "accuracy": (
        variant("v", accuracy=0.8999), device(), Policy(min_accuracy=0.9), {},
        "has top-1 0.8999 and the region asks for 0.9000",
    ),
    "latency measured here": (
        variant("v"), device(), Policy(latency_budget_s=0.02), FAST_HERE,
        "takes 30.00 ms (measured here) and the region allows 20.00 ms",
    ),
    "latency of its class": (
        ON_CLASS, device(), Policy(latency_budget_s=0.02), {},
        "takes 30.00 ms (measured on its class) and the region allows 20.00 ms",
    ),
    "latency predicted": (
        PREDICTED, device(), Policy(latency_budget_s=0.02), {},
        "takes 30.00 ms (predicted) and the region allows 20.00 ms",
    ),
    "failed before": (
        variant("v"), device(), Policy(), {"failed": {"v": "top-1 differs in 3 of 4 samples"}},
        "failed here: top-1 differs in 3 of 4 samples",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EXCLUDED)
def test_a_constraint_excludes_in_its_own_words(case):
    candidate, hardware, policy, more, words = EXCLUDED[case]
    assert verdict(candidate, hardware, policy, **more) == words


FITS = {
    "any architecture": (needing(), device(arch="riscv64"), Policy(), {}),
    "features it has": (needing(features=("asimd",)), device(), Policy(), {}),
    "the very version": (needing(min_runtime="1.23.2"), device(), Policy(), {}),
    "a version in two parts": (
        needing(min_runtime="1.23.0"), device(runtime=RuntimeInfo(name="onnxruntime", version="1.23")), Policy(), {},
    ),
    "a later version by number, not by letter": (
        needing(min_runtime="1.9.0"), device(runtime=RuntimeInfo(name="onnxruntime", version="1.20.0+cu124")), Policy(), {},
    ),
    "exactly its share of memory": (needing(memory_bytes=300 * MB), device(memory_bytes=500 * MB), Policy(), {}),
    "memory not known": (needing(memory_bytes=10**12), device(memory_bytes=0), Policy(), {}),
    "storage not known": (variant("v", size=10**12), device(storage_bytes=0), Policy(), {}),
    "exactly the budgets": (
        needing(memory_bytes=100 * MB), device(), Policy(memory_budget_bytes=100 * MB, min_accuracy=0.9), {},
    ),
    "exactly the latency": (ON_CLASS, device(), Policy(latency_budget_s=0.03), {}),
    "latency not known": (variant("v"), device(), Policy(latency_budget_s=0.001), {}),
    "slow elsewhere": (ON_CLASS, device("pi5"), Policy(latency_budget_s=0.001), {}),
    "another one failed": (variant("v"), device(), Policy(), {"failed": {"w": "crashed"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", FITS)
def test_what_a_constraint_allows_is_taken(case):
    candidate, hardware, policy, more = FITS[case]
    assert verdict(candidate, hardware, policy, **more) is None


def test_an_odd_version_loses_and_does_not_crash():
    odd = RuntimeInfo(name="onnxruntime", version="nightly")
    assert verdict(needing(), device(runtime=odd)) == "needs onnxruntime 1.19.0 and this is nightly"


# accuracy, latency on a Pi 4, memory, bytes
BIG = variant(
    "big", accuracy=0.95, size=4 * MB, requires=Requirement(memory_bytes=90 * MB), latency={"pi4": (0.04, "measured")}
)
MIDDLE = variant(
    "middle",
    accuracy=0.93,
    size=3 * MB,
    requires=Requirement(memory_bytes=60 * MB),
    latency={"pi4": (0.01, "measured")},
)
SMALL = variant(
    "small", accuracy=0.90, size=1 * MB, requires=Requirement(memory_bytes=70 * MB), latency={"pi4": (0.02, "measured")}
)


@pytest.mark.parametrize(
    ("objective", "order", "why"),
    (
        ("accuracy", ["big", "middle", "small"], "the most accurate of the 3 that fit"),
        ("latency", ["middle", "small", "big"], "the fastest of the 3 that fit"),
        ("memory", ["middle", "small", "big"], "the one with the least memory of the 3 that fit"),
        ("download", ["small", "middle", "big"], "the smallest to download of the 3 that fit"),
        (
            "energy",
            ["middle", "small", "big"],
            "the fastest, which stands for the least energy until that is measured of the 3 that fit",
        ),
    ),
)
def test_an_objective_orders_the_table(objective, order, why):
    choice = choose(release([SMALL, BIG, MIDDLE]), device(), Policy(objective=objective))
    assert [row.variant for row in choice.table] == order
    assert [row.verdict for row in choice.table] == ["taken", "fits", "fits"]
    assert choice.taken is not None
    assert choice.taken.name == order[0]
    assert choice.why == why


@pytest.mark.parametrize(
    ("objective", "loser", "words"),
    (
        ("accuracy", "small", "top-1 0.9000 against 0.9500 of big"),
        ("latency", "big", "40.00 ms (measured on its class) against 10.00 ms of middle"),
        ("memory", "small", "70 MB of memory against 60 MB of middle"),
        ("download", "big", "4.01 MB to download against 1.01 MB of small"),
    ),
)
def test_a_variant_that_lost_is_told_by_how_much(objective, loser, words):
    choice = choose(release([SMALL, BIG, MIDDLE]), device(), Policy(objective=objective))
    assert next(row.reason for row in choice.table if row.variant == loser) == words


def test_the_only_one_that_fits_is_named_so():
    choice = choose(release([BIG, SMALL]), device(), Policy(min_accuracy=0.92))
    assert choice.why == "the only one that fits"
    assert [row.verdict for row in choice.table] == ["taken", "excluded"]


def test_when_none_fits_the_reasons_of_all_are_told():
    choice = choose(release([BIG, SMALL]), device(), Policy(min_accuracy=0.99))
    assert choice.taken is None
    assert choice.why == (
        "big: has top-1 0.9500 and the region asks for 0.9900; small: has top-1 0.9000 and the region asks for 0.9900"
    )


TIES = {
    "by accuracy, then the faster": (
        "memory",
        variant("a", accuracy=0.9, latency={"pi4": (0.02, "measured")}),
        variant("b", accuracy=0.9, latency={"pi4": (0.01, "measured")}),
        "b",
        "equal to b by memory and accuracy, and slower, larger or later by name",
    ),
    "by memory, then the more accurate": (
        "memory", variant("a", accuracy=0.8), variant("b", accuracy=0.9), "b", "equal to b by memory, and less accurate",
    ),
    "then the smaller": (
        "accuracy", variant("a", size=2000), variant("b", size=1000), "b",
        "as accurate as b, and slower, larger or later by name",
    ),
    "then the name": (
        "accuracy", variant("b"), variant("a"), "a", "as accurate as a, and slower, larger or later by name",
    ),
    "no latency known at all": (
        "latency", variant("b"), variant("a"), "a", "equal to a by latency and accuracy, and slower, larger or later by name",
    ),
    "one latency known": (
        "latency", variant("a", accuracy=0.99), variant("b", latency={"pi4": (9.0, "predicted")}), "b",
        "its latency here is not known and that of b is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TIES)
def test_a_tie_ends_the_same_way_in_any_order(case):
    objective, one, other, winner, words = TIES[case]
    for variants in ([one, other], [other, one]):
        choice = choose(release(variants), device(), Policy(objective=objective))
        assert choice.taken is not None
        assert choice.taken.name == winner
        assert choice.table[1].reason == words


def test_latency_comes_from_the_best_source():
    here, on_class, guessed, unknown = (variant(name) for name in ("here", "class", "guessed", "unknown"))
    rows = (
        replace(here, latency=(LatencyRow(hardware_class="pi4", p50_s=0.01, how="predicted"),)),
        replace(
            on_class,
            latency=(
                LatencyRow(hardware_class="pi4", p50_s=0.5, how="predicted"),
                LatencyRow(hardware_class="pi5", p50_s=0.001, how="measured"),
                LatencyRow(hardware_class="pi4", p50_s=0.02, how="measured"),
            ),
        ),
        replace(guessed, latency=(LatencyRow(hardware_class="pi4", p50_s=0.03, how="predicted"),)),
        unknown,
    )
    assert estimate(release(rows), device(), {"here": 0.01}) == {
        "here": Latency(0.01, "measured here"),
        "class": Latency(0.02, "measured on its class"),
        "guessed": Latency(0.03, "predicted"),
        "unknown": Latency(None, "unknown"),
    }


def test_what_was_measured_here_scales_the_guesses_for_the_others():
    # This device is three times slower than its class; `quick` was tried here and `slow` was not. Unscaled, the guess
    # for `slow` (15 ms) would beat the real 30 ms of `quick`, and the device would flap between them.
    quick = variant("quick", latency={"pi4": (0.010, "measured")})
    slow = variant("slow", latency={"pi4": (0.015, "predicted")})
    choice = choose(release([quick, slow]), device(), Policy(objective="latency"), measured={"quick": 0.030})
    assert [(row.variant, row.latency) for row in choice.table] == [
        ("quick", Latency(0.030, "measured here")),
        ("slow", Latency(pytest.approx(0.045), "predicted")),  # type: ignore[arg-type]
    ]


def test_of_several_measured_the_middle_ratio_scales():
    names = ("a", "b", "c", "d")
    variants = [variant(name, latency={"pi4": (0.010, "measured")}) for name in names]
    measured = {"a": 0.010, "b": 0.020, "c": 0.900}
    assert estimate(release(variants), device(), measured)["d"].p50_s == pytest.approx(0.020)


def test_a_measurement_of_what_nobody_guessed_scales_nothing():
    variants = [
        variant("a"),
        variant("b", latency={"pi4": (0.01, "predicted")}),
        variant("c", latency={"pi4": (0.0, "predicted")}),
    ]
    latencies = estimate(release(variants), device(), {"a": 5.0, "c": 7.0, "gone": 9.0})
    assert latencies["b"] == Latency(0.01, "predicted")


@given(
    st.permutations([BIG, MIDDLE, SMALL]), st.floats(0.001, 0.05), st.sampled_from(("accuracy", "latency", "memory"))
)
def test_no_variant_is_lost_and_a_taken_one_keeps_the_budget(variants, budget, objective):
    choice = choose(release(variants), device(), Policy(objective=objective, latency_budget_s=budget))
    assert sorted(row.variant for row in choice.table) == ["big", "middle", "small"]
    assert all(row.reason for row in choice.table)
    for row in choice.table:
        assert row.latency.p50_s is not None
        assert (row.verdict == "excluded") == (row.latency.p50_s > budget)


def test_it_takes_the_time_of_a_wish_even_for_the_largest_release():
    variants = [variant(f"v{n}", accuracy=n / 100) for n in range(64)]
    choice = choose(release(variants), device(), Policy())
    assert choice.taken is not None
    assert choice.taken.name == "v63"
    assert len(choice.table) == 64
