"""A worker that hangs at the switch holds up nobody but its own model: real workers, the real asking, a whole agent."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edgefleet_agent.agent import Agent
from edgefleet_agent.clock import SystemClock
from edgefleet_agent.config import Config, Serve
from edgefleet_agent.seams import TrialReport, WorkerSpec
from edgefleet_agent.serve.launcher import ProcessLauncher
from edgefleet_agent.store import Store
from edgefleet_agent.store.disk import Disk
from edgefleet_protocol.chunks import pack
from edgefleet_protocol.codec import encode, sha256_hex
from edgefleet_protocol.hardware import RuntimeInfo
from edgefleet_protocol.manifest import (
    Accuracy,
    FileEntry,
    Golden,
    Release,
    Requirement,
    TensorFile,
    Tolerance,
    Variant,
)
from edgefleet_protocol.rollout import Probation
from tests.fakes.device import DEVICE, FLEET, FakeHub, Package, assign
from tests.fakes.launcher import FakeTrial
from tests.fakes.link import FakeBroker, FakeLink
from tests.fakes.looker import FakeLooker
from tests.fakes.probe import PI4, FakeProbe
from tests.fakes.served import CLASSES, CPU, FEATURES, ROGUE, ask_golden, interface

AT_ONCE = Probation(seconds=0.0, min_requests=0)


class Launcher(ProcessLauncher):
    """The real one, but every trial passes: what hangs, hangs only when it serves."""

    def try_out(self, spec: WorkerSpec, wall_limit_s: float) -> FakeTrial:  # type: ignore[override]
        """Return a trial that found nothing."""
        return FakeTrial(TrialReport(True, "", 0.01, 0.01, 0.1, 40_000_000, {}))


def release(model: str, version: int, runtime: str) -> Package:
    """Return a release whose model, in a runtime of the rogue worker, answers zeros."""
    chunks: dict[str, bytes] = {}

    def file(name: str, data: bytes) -> FileEntry:
        chunk, payload = pack(data)
        chunks[chunk.sha256] = payload
        return FileEntry(name=name, bytes=len(data), sha256=sha256_hex(data), chunks=(chunk,))

    image = TensorFile(name="image", datatype="FP32", shape=(1, FEATURES), file="golden/image.bin")
    scores = TensorFile(name="scores", datatype="FP32", shape=(1, CLASSES), file="golden/scores.bin")
    data = f"{model}/{version}".encode()
    variant = Variant(
        name="small",
        files=("small/model.bin",),
        golden=Golden(outputs=(scores,), tolerances=(Tolerance(provider=CPU, max_abs=1e-4),)),
        accuracy=Accuracy(metric="top1", value=0.9, samples=1000),
        bytes=len(data),
        runtime=runtime,
        requires=Requirement(load_s=60.0),
    )
    files = (
        file("golden/image.bin", bytes(4 * FEATURES)),
        file("golden/scores.bin", bytes(4 * CLASSES)),
        file("small/model.bin", data),
    )
    made = Release(
        model=model, version=version, interface=interface(), golden_inputs=(image,), variants=(variant,), files=files
    )
    return Package(made, encode(made), chunks)


class Device:
    """A whole agent with real workers, a real disk and a broker that is an object."""

    def __init__(self, folder: Path) -> None:
        root = folder / "root.json"
        root.write_bytes(b"{}")
        for name in ("state", "run"):
            (folder / name).mkdir()
        self.broker = FakeBroker()
        self.launcher = Launcher(folder / "run", command=(sys.executable, str(ROGUE)))
        probe = FakeProbe(msgspec.structs.replace(PI4, runtimes=(RuntimeInfo(name="well", version="1.19.0"), HANGS)))
        # Longer than any test: whatever waits for the worker that hangs waits for ever.
        serve = Serve(golden_deadline_s=3600.0)
        settings = Config(
            fleet=FLEET, device=DEVICE, root=root, state=folder / "state", run=folder / "run", serve=serve
        )
        store = Store(Disk(), folder / "state")
        self.agent = Agent(
            SystemClock(), FakeLink(self.broker), store, self.launcher, probe, FakeLooker(), settings, None
        )

    def run(self, until: Callable[[], object]) -> None:
        """Turn until `until` holds."""
        for _ in range(1000):
            self.agent.turn(time.monotonic())
            if until():
                return
            time.sleep(0.01)
        raise AssertionError(f"it did not happen: {self.agent.state}")

    def serves(self, name: str) -> bool:
        """Return whether a release is a model's active one."""
        model = name.partition("/")[0]
        server = self.agent.lives[model].server if model in self.agent.lives else None
        return server is not None and server.spec.release == name and server.accepting_since is not None

    def wrong(self, model: str) -> str | None:
        """Ask a model as an application does; return what is wrong with the answer of its active release."""
        server = self.agent.lives[model].server
        assert server is not None
        return ask_golden(self.launcher, server.spec, 30.0)


HANGS = RuntimeInfo(name="hangs", version="1.19.0")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """The device; its workers end with the test."""
    made = Device(tmp_path)
    yield made
    made.agent.stop(time.monotonic())
    made.launcher.close()


def test_a_worker_that_hangs_at_the_switch_delays_no_other_model_nor_the_link_and_the_old_one_serves_after(
    device: Device,
) -> None:
    hub = FakeHub(device.broker)
    hub.assign_region()
    voice, next_voice = release("voice", 1, "well"), release("voice", 2, "well")
    first, second = release("fashion", 1, "well"), release("fashion", 2, "hangs")
    hub.publish(voice, first)
    hub.roll_out(assign(voice, probation=AT_ONCE), assign(first, probation=AT_ONCE))
    device.run(lambda: device.serves("fashion/1") and device.serves("voice/1"))
    fashion = device.agent.lives["fashion"]
    hub.publish(second)
    hub.roll_out(assign(voice, probation=AT_ONCE), assign(second, probation=AT_ONCE))
    device.run(lambda: fashion.asking is not None)
    assert device.wrong("voice") is None
    # Word of another wish comes over the link, and the other model is fetched, loaded and switched meanwhile.
    hub.publish(next_voice)
    hub.roll_out(assign(next_voice, probation=AT_ONCE), assign(second, probation=AT_ONCE))
    device.run(lambda: device.serves("voice/2"))
    assert device.wrong("voice") is None
    assert fashion.asking is not None and fashion.candidate is not None
    assert device.agent.store.facts.facts.model("fashion").active.release == "fashion/1"  # type: ignore[union-attr]
    os.kill(fashion.candidate.worker.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    device.run(lambda: fashion.asking is None)
    assert device.serves("fashion/1") and device.wrong("fashion") is None
    (failure,) = device.agent.store.facts.facts.model("fashion").failures
    assert (failure.stage, failure.release) == ("switch", "fashion/2")
