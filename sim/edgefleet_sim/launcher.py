"""Workers that are objects. A "model" is a file whose first line says how it behaves: see `releases`.

What is real here: when a trial, a switch and a probation happen, and what the agent makes of what they find. What is not:
no process, no memory and no inference; requests are counted from a rate and latencies drawn around the board's speed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import msgspec

from edgefleet_agent.seams import Asked, Served, TrialReport, WorkerSpec
from edgefleet_protocol.sketch import Sketch, SketchBuilder

from .disk import MemoryDisk

REQUESTS_PER_S = 5.0
MAX_REQUESTS_A_READ = 120
"""Of a device that was asleep or was not looked at for long; so a sketch is cheap to draw."""
WORKER_BYTES = 40_000_000

Fails = Literal["", "trial", "start", "first-inference", "slow"]


class ModelFile(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a virtual model."""

    release: str
    variant: str
    base_s: float
    """One inference on a Raspberry Pi 5."""
    fails: Fails = ""
    """`trial`: wrong golden answers. `start`: its worker dies. `first-inference`: right golden answers, then every real
    request fails. `slow`: eight times slower for real requests than in its trial."""


@lru_cache(maxsize=256)
def read_model(data: bytes) -> ModelFile:
    """Return what a virtual model says of itself."""
    return msgspec.json.decode(data.partition(b"\n")[0], type=ModelFile)


@lru_cache(maxsize=4096)
def latencies(seconds: float, count: int) -> Sketch:
    """Return `count` latencies around `seconds`: most close to it, a few of twice as much."""
    builder = SketchBuilder()
    for number in range(count):
        builder.add(seconds * (2.0 if number % 25 == 24 else 0.9 + number % 10 * 0.02))
    return builder.build()


class VirtualLauncher:
    """Implements the agent's `Launcher` for one boot of one device."""

    def __init__(self, disk: MemoryDisk, slowness: float, now: Callable[[], float], served: set[str]) -> None:
        """served: takes in the name of every release that took real requests here."""
        self.disk, self.slowness, self.now, self.served = disk, slowness, now, served
        self.workers: list[VirtualWorker] = []

    def limits_held(self) -> dict[str, str]:
        """Which limits hold."""
        return {"memory": "simulated", "network": "simulated", "cpu": "simulated"}

    def sockets(self, model: str) -> None:
        """No socket is needed."""

    def model(self, spec: WorkerSpec) -> ModelFile:
        """Return the model of a worker, from the disk."""
        return read_model(self.disk.read(spec.model_path))

    def try_out(self, spec: WorkerSpec, wall_limit_s: float) -> "VirtualTrial":
        """Start a trial."""
        model = self.model(spec)
        if model.fails == "trial":
            return VirtualTrial(TrialReport(False, "golden answers differ: 0.41 where 0.02 may"))
        seconds = model.base_s * self.slowness
        return VirtualTrial(
            TrialReport(True, "", seconds, seconds * 1.2, 0.4 * self.slowness, WORKER_BYTES, self.limits_held())
        )

    def start(self, spec: WorkerSpec) -> "VirtualWorker":
        """Start a worker."""
        self.workers = [worker for worker in self.workers if not worker.stopped]
        worker = VirtualWorker(self, spec, self.model(spec))
        self.workers.append(worker)
        return worker

    def begin_golden(self, spec: WorkerSpec, deadline_s: float) -> "VirtualAsking":
        """Begin to ask the golden inputs."""
        return VirtualAsking(self, spec)

    def answering(self, model: str) -> "VirtualWorker | None":
        """Return the worker that an application would reach."""
        return next((one for one in reversed(self.workers) if one.spec.model == model and one.accepting), None)


@dataclass
class VirtualTrial:
    """Over at its second poll."""

    report: TrialReport
    polls: int = 0

    def poll(self) -> TrialReport | None:
        """The report, or None while it runs."""
        self.polls += 1
        return self.report if self.polls > 1 else None

    def stop(self) -> None:
        """End it."""


@dataclass
class VirtualAsking:
    """Answered at the second poll."""

    launcher: VirtualLauncher
    spec: WorkerSpec
    polls: int = 0

    def poll(self) -> Asked | None:
        """How it went, or None while it goes on."""
        self.polls += 1
        if self.polls < 2:
            return None
        worker = self.launcher.answering(self.spec.model)
        if worker is None:
            return Asked(f"nothing listens for {self.spec.model}")
        right = worker.spec.variant_sha256 == self.spec.variant_sha256
        return Asked(None if right else f"{worker.spec.variant} answered instead of {self.spec.variant}")

    def stop(self) -> None:
        """Ask no more."""


class VirtualWorker:
    """One serving worker."""

    def __init__(self, launcher: VirtualLauncher, spec: WorkerSpec, model: ModelFile) -> None:
        self.launcher, self.spec, self.model = launcher, spec, model
        self.accepting = self.stopped = False
        self.polls = 0
        self.dead = ""
        self.read_at = launcher.now()

    def poll(self) -> Literal["starting", "ready", "dead"]:
        """Where it is."""
        self.polls += 1
        if self.model.fails == "start" and not self.dead:
            self.dead = "killed by SIGSEGV while loading"
        if self.dead or self.stopped:
            return "dead"
        return "ready" if self.polls > 1 else "starting"

    def why_dead(self) -> str:
        """How it ended."""
        return self.dead

    def blame(self) -> Literal["variant", "runtime"]:
        """What its death is laid to."""
        return "variant"

    def kill(self, because: str) -> None:
        """End it at once."""
        self.dead, self.accepting = f"killed: {because}", False

    def accept(self) -> None:
        """Take requests."""
        self.accepting, self.read_at = True, self.launcher.now()
        self.launcher.served.add(self.spec.release)

    def pause(self) -> None:
        """Take no more requests."""
        self.accepting = False

    def served(self) -> Served:
        """Counts since the last call."""
        now = self.launcher.now()
        due = int((now - self.read_at) * REQUESTS_PER_S)
        count = min(MAX_REQUESTS_A_READ, due)
        # What is left of a request counts at the next read; what is beyond the most for one read never came.
        self.read_at = now if count < due else self.read_at + count / REQUESTS_PER_S
        slow = 8.0 if self.model.fails == "slow" else 1.0
        seconds = round(self.model.base_s * self.launcher.slowness * slow, 5)
        errors = count if self.model.fails == "first-inference" else 0
        return Served(count, errors, latencies(seconds, count), None, WORKER_BYTES)

    def stop(self, drain_s: float) -> None:
        """End."""
        self.stopped, self.accepting = True, False
