"""Releases that are signed in good order and bad all the same never stay on a device."""

from contextlib import ExitStack

from edgefleet_protocol.manifest import Requirement
from tests.fakes.fleet import SOUTH, VARIANTS, WEST, Fleet
from tests.fakes.spoil import wrong_golden

from .test_explain import plan

TIGHT = {"objective": "accuracy", "telemetry_interval_s": 1.0, "latency_budget_s": 0.000001}


def test_a_release_with_wrong_golden_answers_is_refused_in_its_trial_and_the_region_goes_back(fleet: Fleet) -> None:
    good = fleet.release("golden")
    fleet.roll_out(good)
    bad = fleet.release("golden", spoil=wrong_golden(*VARIANTS))
    with ExitStack() as stack:
        loads = [stack.enter_context(fleet.load(name, "golden")) for name in fleet.members]
        fleet.begin(bad, stages=[100.0])
        for region in (WEST, SOUTH):
            fleet.until(f"{region} goes back", fleet.went_back, region, bad)
            assert "failed in trial" in fleet.rollout(region, bad)["why"]
        for name in fleet.members:
            fleet.until(f"{name} knows", wants, fleet, name, good)
    failed = {name: fleet.model(name, "golden")["failures"] for name in fleet.members}
    assert any(failed.values())
    for name, rows in failed.items():
        fleet.until(f"{name} runs {good}", fleet.runs, name, good)
        # Where no variant is left after that, the choice has failed too.
        assert {row["release"] for row in rows} <= {bad} and {row["stage"] for row in rows} <= {"trial", "choose"}
        if rows:
            assert "differs by 3 in logits" in rows[0]["reason"]
            assert fleet.told(name, "trial-failed", "differs by 3 in logits")
    for load in loads:
        assert load.failures == [] and set(load.by_release) == {good}


def test_a_release_beyond_its_latency_budget_falls_back_by_itself(fleet: Fleet) -> None:
    good = fleet.release("slow")
    fleet.roll_out(good, [WEST])
    slow = fleet.release("slow", guesses=False)
    with fleet.load("zero", "slow") as zero, fleet.load("five", "slow") as five:
        fleet.begin(slow, [WEST], probation_s=600.0, policies={WEST: TIGHT})
        fleet.until("the region goes back", fleet.went_back, WEST, slow)
        for name in ("zero", "five"):
            fleet.until(f"{name} is back", fleet.runs, name, good)
        fleet.until("both answer", lambda: zero.ask() == good and five.ask() == good)
    failures = [row for name in ("zero", "five") for row in fleet.model(name, "slow")["failures"]]
    assert failures and {(row["release"], row["stage"]) for row in failures} == {(slow, "probation")}
    assert all("ms are allowed" in row["reason"] for row in failures)
    assert zero.failures == five.failures == []
    assert any(fleet.told(name, "fell-back", "ms are allowed") for name in ("zero", "five"))


def test_a_release_for_other_hardware_leaves_the_one_before_serving_and_all_sides_say_why(fleet: Fleet) -> None:
    good = fleet.release("other")
    fleet.roll_out(good, [WEST])
    only = Requirement(memory_bytes=150_000_000, load_s=60.0, arch=("x86_64",))
    other = fleet.release("other", variants={"desk": only})
    why = "desk: made for x86_64 and this is aarch64"
    planned = plan(fleet, other, [WEST])
    assert planned == dict.fromkeys(("zero", "five"), f"none of its variants fits: {why}")
    fleet.begin(other, [WEST], force=True)
    for name in ("zero", "five"):
        fleet.until(f"{name} says why", fleet.says, name, why, "other")
        said = next(row for row in fleet.status(name)["models"] if row["model"] == "other")
        assert why in said["why"] and said["running"]["release"] == good
        with fleet.load(name, "other") as load:
            assert load.ask() == good
        fleet.until("an event says it", fleet.told, name, "choose-failed", why)
    evidence = fleet.rollout(WEST, other)["evidence"]
    assert {(row["device"], row["standing"]) for row in evidence} == {("zero", "left out"), ("five", "left out")}
    assert all(why in row["why"] for row in evidence)


def test_a_device_that_a_release_does_not_fit_is_left_out_and_holds_nobody_up(fleet: Fleet) -> None:
    good = fleet.release("mixed")
    fleet.roll_out(good, [WEST])
    only = fleet.release("mixed", variants={"wide": VARIANTS["wide"]})
    fleet.roll_out(only, [WEST])
    assert fleet.runs("five", only)
    fleet.until("zero says why", fleet.says, "zero", "MB of memory", "mixed")
    assert fleet.runs("zero", good)
    standings = {row["device"]: row["standing"] for row in fleet.rollout(WEST, only)["evidence"]}
    assert standings == {"zero": "left out", "five": "proven"}


def wants(fleet: Fleet, name: str, release: str) -> bool:
    return bool(fleet.model(name, release.partition("/")[0])["wanted"] == release)
