"""Trial and switch when memory is short, a worker is unwell, the runtime is broken, or the system changed below a model."""

from dataclasses import replace

import msgspec
import pytest

from edgefleet_agent.conditions import Surroundings
from edgefleet_agent.rules.room import need_bytes, reserve_bytes, room
from edgefleet_agent.status import status_words
from edgefleet_agent.store import owner
from edgefleet_agent.store.facts import TrialFact
from edgefleet_agent.store.owner import Hands, OwnerHold
from edgefleet_protocol.hardware import RuntimeInfo
from edgefleet_protocol.manifest import Requirement
from edgefleet_protocol.messages import Measured
from edgefleet_protocol.telemetry import DeviceWindow
from tests.fakes.device import STATE, FakeDevice, FakeHub, Package, assign, failed, fleet, package, proven
from tests.fakes.launcher import Behaviour
from tests.fakes.probe import PI4

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
MB = 1_000_000
ORIN = msgspec.structs.replace(
    PI4,
    board="nvidia,p3768-0000+p3767-0003",
    hardware_class="orin-nano",
    accelerator="sm_87",
    os="Ubuntu 22.04.4 LTS, L4T 36.3.0",
    runtimes=(RuntimeInfo(name="fake", version="1.19.2", providers=(TENSORRT, CUDA, CPU)),),
)
NEXT_JETPACK = msgspec.structs.replace(ORIN, os="Ubuntu 22.04.4 LTS, L4T 36.4.3")


def running(first: Package, device: FakeDevice, hub: FakeHub) -> tuple[FakeDevice, FakeHub]:
    """Return a device that has proven `first`."""
    hub.publish(first)
    hub.roll_out(assign(first))
    device.boot().run(until=proven(first))
    return device, hub


def wish(hub: FakeHub, *releases: Package) -> None:
    hub.publish(*releases)
    hub.roll_out(*(assign(one) for one in releases))


def texts(device: FakeDevice, kind: str) -> list[str]:
    return [event.text for event in device.events() if event.kind == kind]


# --- room for two


@pytest.mark.parametrize(
    ("free", "need", "old", "how"),
    [
        (400 * MB, 200 * MB, 50 * MB, "beside"),
        (200 * MB, 200 * MB, 50 * MB, "none"),
        (200 * MB, 200 * MB, 150 * MB, "instead"),
        (200 * MB, 200 * MB, None, "none"),
        (None, 200 * MB, 50 * MB, "beside"),
        (10 * MB, 0, 50 * MB, "beside"),
    ],
)
def test_two_workers_share_the_memory_or_follow_each_other_and_the_reason_has_the_numbers(
    free: int | None, need: int, old: int | None, how: str
) -> None:
    around = Surroundings(DeviceWindow(), 10**9, free, 0)
    found = room(around, 4_000 * MB, need, old)
    assert found.how == how
    assert free is None or not need or f"{free // MB} MB are free" in found.why


def test_the_need_is_what_was_measured_and_at_most_what_is_signed() -> None:
    variant = package(1, requires=Requirement(memory_bytes=300 * MB)).release.variants[0]
    found = Measured(release="a/1", variant="small", latency_p50_s=0.1, latency_p95_s=0.1, memory_bytes=100 * MB)
    assert need_bytes(variant, None) == 300 * MB
    assert need_bytes(variant, TrialFact(slot="s", passed=True, measured=found)) == 125 * MB
    larger = msgspec.structs.replace(found, memory_bytes=290 * MB)
    assert need_bytes(variant, TrialFact(slot="s", passed=True, measured=larger)) == 300 * MB
    assert reserve_bytes(0) == 16 * MB and reserve_bytes(10**12) == 256 * MB


def tight() -> tuple[FakeDevice, FakeHub, Package]:
    """Return a device on which two workers do not fit, and the release that is to come."""
    device, hub = fleet()
    running(package(1), device, hub)
    device.probe.memory_bytes = 160 * MB  # 120 are the system's of 4 GB, and the worker that serves has 40
    return device, hub, package(2, requires=Requirement(load_s=5.0, memory_bytes=70 * MB))


def test_s32_without_memory_for_two_the_old_one_ends_first_and_the_sockets_stay() -> None:
    device, hub, second = tight()
    old = device.launcher.workers[-1]
    ends = []
    device.launcher.trials.clear()
    device.after_turn = lambda one: ends.append((old.stopped, len(one.launcher.trials)))
    wish(hub, second)
    device.run(until=proven(second))
    assert (False, 1) not in ends  # it had ended before the trial began
    assert device.launcher.open_sockets == {"fashion"}
    assert "70 MB are needed" in texts(device, "stood-aside")[0]
    assert "requests waited for" in texts(device, "activated")[-1]


@pytest.mark.parametrize(
    "behaviour",
    [Behaviour(trial="killed by SIGKILL"), Behaviour(lies_when_serving=True), Behaviour(dies_at_start=True)],
)
def test_s32_what_made_room_serves_again_at_once_when_the_new_one_fails(behaviour: Behaviour) -> None:
    device, hub, second = tight()
    device.behaviours[second.variant_sha256("small")] = behaviour
    wish(hub, second)
    device.run(until=failed(second))
    device.run(until=lambda one: one.serving() == "fashion/1", turns=10)


def test_s10_a_wish_that_goes_back_in_the_middle_of_a_switch_lets_the_old_one_accept_again() -> None:
    device, hub = fleet()
    first, second = package(1), package(2)
    running(first, device, hub)
    old = device.launcher.workers[-1]
    device.behaviours[second.variant_sha256("small")] = Behaviour(golden_polls=10**6)
    wish(hub, second)
    device.run(until=lambda one: one.agent.lives["fashion"].asking is not None)
    assert not old.accepting and device.model().running.release == "fashion/1"  # type: ignore[union-attr]
    device.run(until=lambda one: "asked the golden inputs" in one.model().why)  # type: ignore[union-attr]
    hub.roll_out(assign(first))
    device.run(until=lambda one: one.serving() == "fashion/1")
    assert old.accepting and device.launcher.workers[-1].stopped
    assert not device.model().failures  # type: ignore[union-attr]


def test_an_agent_that_ends_in_the_middle_of_a_switch_starts_with_the_old_one_and_switches_again() -> None:
    device, hub = fleet()
    second = package(2)
    running(package(1), device, hub)
    device.behaviours[second.variant_sha256("small")] = Behaviour(golden_polls=10**6)
    wish(hub, second)
    device.run(until=lambda one: one.agent.lives["fashion"].asking is not None)
    device.boot().run(until=lambda one: one.serving() == "fashion/1", turns=10)
    device.behaviours.clear()
    device.run(until=proven(second))


def test_a_worker_that_dies_in_the_middle_of_a_switch_is_not_waited_for() -> None:
    device, hub = fleet()
    second = package(2)
    running(package(1), device, hub)
    device.behaviours[second.variant_sha256("small")] = Behaviour(golden_polls=10**6)
    wish(hub, second)
    device.run(until=lambda one: one.agent.lives["fashion"].asking is not None)
    device.launcher.workers[-1].dead = "killed by SIGSEGV"
    device.run(until=failed(second), turns=10)
    assert device.serving() == "fashion/1"
    assert "died at the switch: killed by SIGSEGV" in texts(device, "switch-failed")[0]


def test_what_does_not_fit_even_alone_is_waited_for_and_nothing_stops_serving() -> None:
    device, hub, _ = tight()
    second = package(2, requires=Requirement(load_s=5.0, memory_bytes=500 * MB))
    wish(hub, second)
    device.run(turns=30)
    model = device.model()
    assert model is not None and "no memory, even without the worker that serves" in model.why
    assert device.serving() == "fashion/1" and "stood-aside" not in device.kinds()
    device.probe.memory_bytes = 4_000 * MB
    device.run(until=proven(second))


# --- a worker that is unwell


def test_a_proven_worker_that_hangs_is_killed_counted_and_started_again() -> None:
    device, hub = fleet()
    first = package(1)
    running(first, device, hub)
    device.behaviours[first.variant_sha256("small")] = Behaviour(hangs=True)
    device.run(until=lambda one: "worker-died" in one.kinds())
    assert "an inference has been running for" in texts(device, "worker-died")[0]
    device.behaviours.clear()
    device.run(until=lambda one: one.serving() == "fashion/1")
    assert not device.model().failures  # type: ignore[union-attr]


def test_a_release_that_hangs_on_probation_goes_back() -> None:
    device, hub = fleet()
    running(package(1), device, hub)
    second = package(2)
    device.behaviours[second.variant_sha256("small")] = Behaviour(hangs=True)
    hub.publish(second)
    hub.roll_out(
        msgspec.structs.replace(
            assign(second), probation=msgspec.structs.replace(assign(second).probation, seconds=600.0)
        )
    )
    device.run(until=failed(second))
    device.run(until=lambda one: one.serving() == "fashion/1")


def test_a_long_inference_within_the_signed_time_is_no_hang() -> None:
    device, hub = fleet()
    first = package(1, requires=Requirement(load_s=5.0))
    running(first, device, hub)
    worker = device.launcher.workers[-1]
    worker.busy_s = 14.0
    device.run(turns=30)
    assert "worker-died" not in device.kinds()


def test_a_worker_that_swells_over_its_bound_is_replaced_while_it_still_serves() -> None:
    device, hub = fleet()
    first = package(1, requires=Requirement(load_s=5.0, memory_bytes=70 * MB))
    running(first, device, hub)
    swollen = device.launcher.workers[-1]
    device.behaviours[first.variant_sha256("small")] = Behaviour(memory_bytes=90 * MB)
    served = []
    device.after_turn = lambda one: served.append(one.serving())
    device.run(until=lambda one: "worker-replaced" in one.kinds(), turns=1000)
    device.behaviours.clear()
    device.run(until=lambda one: swollen.stopped)
    assert set(served) == {"fashion/1"}
    assert "has 90 MB of memory and its release allows 70 MB" in texts(device, "worker-replaced")[0]
    assert "worker-died" not in device.kinds()


# --- the runtime


def test_a_runtime_that_cannot_be_imported_is_blamed_once_and_no_variant_is() -> None:
    device, hub = fleet()
    second = package(2, {"best": 0.95, "small": 0.9})
    running(package(1), device, hub)
    for name in ("best", "small"):
        device.behaviours[second.variant_sha256(name)] = Behaviour(
            no_runtime="the runtime fake cannot be imported: broken"
        )
    wish(hub, second)
    device.run(turns=100)
    model = device.model()
    assert model is not None and not model.failures
    assert "Nothing is wrong with the release" in model.why
    assert device.kinds().count("runtime-broken") == 1
    device.behaviours.clear()
    device.run(until=proven(second))


def test_an_active_model_whose_runtime_broke_keeps_its_place_and_serves_when_it_is_mended() -> None:
    device, hub = fleet()
    first = package(1)
    running(first, device, hub)
    device.behaviours[first.variant_sha256("small")] = Behaviour(
        no_runtime="the runtime fake cannot be imported: broken"
    )
    device.stop()
    device.boot().run(turns=60)
    # A broker may get an event twice; its number tells.
    assert len({event.number for event in device.events() if event.kind == "runtime-broken"}) == 1
    assert "worker-died" not in device.kinds()
    device.behaviours.clear()
    device.run(until=lambda one: one.serving() == "fashion/1")


def test_a_device_without_any_runtime_waits_for_one_and_fails_nothing() -> None:
    device, hub = fleet()
    device.probe.board = msgspec.structs.replace(PI4, runtimes=())
    first = package(1)
    hub.publish(first)
    hub.roll_out(assign(first))
    device.boot().run(until=lambda one: "runtime-missing" in one.kinds())
    model = device.model()
    assert model is not None and not model.failures and "edgefleet-agent[runtime]" in model.why
    device.probe.board = PI4
    device.run(until=proven(first))


def test_sockets_that_cannot_be_had_are_told_once_and_tried_again() -> None:
    device, hub = fleet()
    first = package(1)
    hub.publish(first)
    hub.roll_out(assign(first))
    device.boot()
    device.launcher.cannot_bind = "cannot bind /run/fashion.sock: Is a directory"
    device.run(turns=60)
    assert device.kinds().count("cannot-serve") == 1
    assert "Is a directory" in device.model().why  # type: ignore[union-attr]
    device.launcher.cannot_bind = ""
    device.run(until=proven(first))


# --- cancelled on the way


def test_s10_a_wish_that_is_withdrawn_during_its_trial_leaves_nothing_running() -> None:
    first, second = package(1), package(2)
    device, hub = fleet()
    running(first, device, hub)
    device.behaviours[second.variant_sha256("small")] = Behaviour(trial_polls=1000)
    wish(hub, second)
    device.run(until=lambda one: one.phase() == "trying")
    hub.roll_out()
    device.run(until=lambda one: "cancelled" in one.kinds())
    assert device.serving() == "fashion/1" and device.phase() == "idle"
    assert device.agent.lives["fashion"].trial is None


def test_s10_a_wish_that_is_withdrawn_on_probation_is_never_told_as_cancelled_while_it_runs() -> None:
    first, second = package(1), package(2)
    device, hub = fleet()
    running(first, device, hub)
    wish(hub, second)
    device.run(until=lambda one: one.serving() == "fashion/2" and one.phase() == "probation")
    hub.roll_out()
    device.run(turns=20)
    model = device.model()
    assert "cancelled" not in device.kinds()
    assert device.serving() == "fashion/2" and model is not None
    assert model.running is not None and model.running.release == "fashion/2"
    wish(hub, first)  # the way back is a wish like any other
    device.run(until=lambda one: one.serving() == "fashion/1" and one.phase() == "proven")


# --- providers


def on_orin(device: FakeDevice, hub: FakeHub, release: Package) -> None:
    device.probe.board = ORIN
    running(release, device, hub)


def test_the_fastest_provider_that_the_release_vouches_for_is_tried_and_served_on() -> None:
    device, hub = fleet()
    on_orin(device, hub, package(1, providers=(CPU, CUDA, TENSORRT)))
    trial, worker = device.launcher.specs[-1], device.launcher.workers[-1]
    assert (trial.provider, worker.spec.provider) == (TENSORRT, TENSORRT)
    engines = device.disk.list(STATE / "engines")
    assert len(engines) == 1 and worker.spec.engines == STATE / "engines" / engines[0]
    assert trial.engines != worker.spec.engines  # built beside its name
    assert device.disk.list(STATE / "engines" / engines[0]) == ["model.engine"]


def test_a_provider_that_fails_its_trial_is_passed_over_with_its_reason() -> None:
    device, hub = fleet()
    first = package(1, providers=(CPU, TENSORRT))
    device.behaviours[first.variant_sha256("small")] = Behaviour(fails_on=(TENSORRT,))
    on_orin(device, hub, first)
    assert device.launcher.workers[-1].spec.provider == CPU
    running_now = device.model().running  # type: ignore[union-attr]
    assert running_now is not None and running_now.provider == CPU, "the server and the owner are told"
    assert f"(small) on {CPU}" in status_words(device.state(), is_running=True)  # type: ignore[arg-type]
    assert (
        "TensorrtExecutionProvider ran out of memory; CPUExecutionProvider is next"
        in texts(device, "provider-refused")[0]
    )
    assert not device.model().failures  # type: ignore[union-attr]
    assert device.disk.list(STATE / "engines") in ([], [f"{device.launcher.specs[0].engines.name}"])  # type: ignore[union-attr]


def test_s31_after_a_jetpack_upgrade_the_old_engine_is_not_used_and_a_new_one_is_built_while_the_cpu_serves() -> None:
    device, hub = fleet()
    on_orin(device, hub, package(1, providers=(CPU, TENSORRT)))
    before = device.disk.list(STATE / "engines")
    device.stop()
    device.probe.board = NEXT_JETPACK
    device.boot().run(until=lambda one: one.serving())
    assert device.launcher.workers[-1].spec.provider == CPU
    device.run(
        until=lambda one: one.launcher.workers[-1].spec.provider == TENSORRT and one.launcher.workers[-1].accepting
    )
    device.run(turns=5)
    after = device.disk.list(STATE / "engines")
    assert len(after) == 1 and after != before
    model = device.model()
    assert model is not None and model.running is not None and model.running.proven


def test_s31_a_variant_that_may_run_nowhere_else_gives_way_to_the_portable_one() -> None:
    device, hub = fleet()
    both = package(2, {"engine": 0.95, "portable": 0.9}, providers=(TENSORRT,))
    portable = both.release.variants[1]
    cpu = (msgspec.structs.replace(portable.golden.tolerances[0], provider=CPU),)
    portable = msgspec.structs.replace(portable, golden=msgspec.structs.replace(portable.golden, tolerances=cpu))
    needs = msgspec.structs.replace(both.release.variants[0].requires, provider=TENSORRT)
    engine = msgspec.structs.replace(both.release.variants[0], requires=needs)
    release = msgspec.structs.replace(both.release, variants=(engine, portable))
    document = msgspec.json.encode(release)
    second = replace(both, release=release, document=document)
    on_orin(device, hub, second)
    assert device.launcher.workers[-1].spec.variant == "engine"
    device.stop()
    device.probe.board = NEXT_JETPACK
    device.boot().run(until=lambda one: one.serving() and one.launcher.answering("fashion").spec.variant == "portable")  # type: ignore[union-attr]


def test_an_engine_is_never_built_where_nothing_would_serve_meanwhile() -> None:
    device, hub = fleet()
    device.probe.board = ORIN
    running(package(1), device, hub)
    device.probe.memory_bytes = 160 * MB
    second = package(2, requires=Requirement(load_s=5.0, memory_bytes=70 * MB), providers=(CPU, TENSORRT))
    wish(hub, second)
    device.run(turns=30)
    assert "built only beside the worker that serves" in device.model().why  # type: ignore[union-attr]
    assert device.serving() == "fashion/1"


def test_an_owner_who_holds_a_model_while_the_old_worker_has_made_room_gets_the_old_one_back() -> None:
    device, hub, second = tight()
    wish(hub, second)
    device.run(until=lambda one: one.serving() is None)
    owner.write(device.disk, STATE, Hands(holds={"fashion": OwnerHold(by="ana", since_s=0.0)}))
    device.run(until=lambda one: one.serving() == "fashion/1", turns=40)
