"""Workers that are objects. They read their files from the device's disk and really compare golden answers.

The "model" is bytes; its answer to an input is the digest of both. A release whose golden file holds anything else
fails its trial, as does a model file that was damaged. `Behaviour` says how a variant does beyond that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal, Protocol

from edgefleet_agent.seams import Asked, Served, TrialReport, WorkerSpec
from edgefleet_agent.serve.errors import CannotBind
from edgefleet_protocol.sketch import SketchBuilder


def answer(model: bytes, inputs: bytes) -> bytes:
    """Return what the fake model answers: 32 bytes."""
    return sha256(model + b"|" + inputs).digest()


@dataclass(frozen=True)
class Behaviour:
    """How a variant behaves, by the digest of its first file."""

    latency_s: float = 0.010
    errors_percent: float = 0.0
    trial_latency_s: float | None = None
    trial: str | None = None
    """Why its trial fails though the answers are right: `killed by SIGILL`."""
    dies_at_start: bool = False
    dies_after: int | None = None
    """Polls of the serving worker, those at the switch not counted, after which it dies."""
    golden_polls: int = 1
    """How often it is asked in vain for its golden answers at the switch, in polls of the agent."""
    lies_when_serving: bool = False
    """The trial passes, the serving path does not."""
    takes_the_device_down: bool = False
    trial_polls: int = 1
    hangs: bool = False
    """Its worker takes an inference and never ends it."""
    memory_bytes: int = 40_000_000
    """Of the worker that serves."""
    no_runtime: str = ""
    """Why the runtime cannot be imported: trials and workers say so."""
    fails_on: tuple[str, ...] = ()
    """Providers on which its trial fails."""


class Reader(Protocol):
    """The part of a disk that workers need."""

    def read(self, path: Path) -> bytes: ...

    def write(self, path: Path, data: bytes, mode: int = 0o640) -> None: ...


class PowerGone(BaseException):
    """The device went down in a trial."""


@dataclass
class FakeLauncher:
    """The launcher of one device."""

    disk: Reader
    behaviours: Mapping[str, Behaviour] = field(default_factory=dict)
    requests_per_read: int = 30
    """Requests that each accepting worker answers between two reads of its counts."""
    workers: list["FakeWorker"] = field(default_factory=list)
    trials: list[str] = field(default_factory=list)
    """`release variant` of every trial that was begun."""
    open_sockets: set[str] = field(default_factory=set)
    specs: list[WorkerSpec] = field(default_factory=list)
    """Of every trial."""
    cannot_bind: str = ""
    """Why no socket can be had."""

    def behaviour(self, spec: WorkerSpec) -> Behaviour:
        return self.behaviours.get(spec.variant_sha256, Behaviour())

    def limits_held(self) -> dict[str, str]:
        return {"memory": "fake", "network": "fake", "cpu": "fake"}

    def sockets(self, model: str) -> None:
        if self.cannot_bind:
            raise CannotBind(self.cannot_bind)
        self.open_sockets.add(model)

    def wrong(self, spec: WorkerSpec) -> str | None:
        """Return why the golden answers are not those of the release, read from the disk now; None when they are."""
        try:
            model = self.disk.read(spec.model_path)
            inputs = b"".join(self.disk.read(spec.golden_folder / row.file) for row in spec.golden_inputs)
            golden = b"".join(self.disk.read(spec.golden_folder / row.file) for row in spec.golden.outputs)
        except OSError as error:
            return f"cannot open its files: {error}"
        if sha256(model).hexdigest() != spec.variant_sha256:
            return "the model file is damaged"
        if (got := answer(model, inputs)) != golden:
            return f"golden answers differ: {got.hex()[:8]} and the release says {golden.hex()[:8]}"
        return None

    def try_out(self, spec: WorkerSpec, wall_limit_s: float) -> "FakeTrial":
        self.trials.append(f"{spec.release} {spec.variant}")
        behaviour = self.behaviour(spec)
        if behaviour.takes_the_device_down:
            raise PowerGone(spec.release)
        latency = behaviour.trial_latency_s or behaviour.latency_s
        self.specs.append(spec)
        if spec.engines is not None:
            self.disk.write(spec.engines / "model.engine", b"built of " + spec.variant_sha256.encode())
        if behaviour.no_runtime:
            return FakeTrial(TrialReport(False, behaviour.no_runtime, blame="runtime"))
        on = f"{spec.provider} ran out of memory" if spec.provider in behaviour.fails_on else None
        reason = behaviour.trial or on or self.wrong(spec)
        if reason:
            return FakeTrial(TrialReport(False, reason), takes_polls=self.behaviour(spec).trial_polls)
        found = TrialReport(True, "", latency, latency * 1.2, 0.2, 40_000_000, self.limits_held())
        return FakeTrial(found, takes_polls=behaviour.trial_polls)

    def start(self, spec: WorkerSpec) -> "FakeWorker":
        worker = FakeWorker(self, spec)
        self.workers.append(worker)
        return worker

    def begin_golden(self, spec: WorkerSpec, deadline_s: float) -> "FakeAsking":
        return FakeAsking(self, spec, self.behaviour(spec).golden_polls)

    def golden(self, spec: WorkerSpec) -> str | None:
        """Return why the golden answers through the serving path are wrong now; None when they are right."""
        answering = self.answering(spec.model)
        if answering is None:
            return f"nothing listens for {spec.model}"
        if answering.spec.variant_sha256 != spec.variant_sha256:
            return f"{answering.spec.variant} answered instead of {spec.variant}"
        if self.behaviour(spec).lies_when_serving:
            return "golden answers differ through the serving path"
        return self.wrong(spec)

    def answering(self, model: str) -> "FakeWorker | None":
        """Return the worker that an application would reach."""
        live = [w for w in self.workers if w.spec.model == model and w.accepting and not w.stopped and not w.dead]
        return live[-1] if live else None


@dataclass
class FakeAsking:
    """Golden inputs that are answered when it was asked more than `takes_polls` times."""

    launcher: FakeLauncher
    spec: WorkerSpec
    takes_polls: int = 1
    polls: int = 0
    stopped: bool = False

    def poll(self) -> Asked | None:
        self.polls += 1
        if (worker := self.launcher.answering(self.spec.model)) is not None:
            worker.asked += 2  # asked how it is, once as what died and once as the candidate
        return Asked(self.launcher.golden(self.spec)) if self.polls > self.takes_polls else None

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeTrial:
    """A trial that runs until it was asked more than `takes_polls` times."""

    report: TrialReport
    takes_polls: int = 1
    polls: int = 0
    stopped: bool = False

    def poll(self) -> TrialReport | None:
        self.polls += 1
        return self.report if self.polls > self.takes_polls else None

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeWorker:
    """One serving worker: ready when it was asked twice, or dead at once when its files are no good."""

    launcher: FakeLauncher
    spec: WorkerSpec
    accepting: bool = False
    stopped: bool = False
    dead: str = ""
    blamed: Literal["variant", "runtime"] = "variant"
    busy_s: float | None = None
    polls: int = 0
    asked: int = 0
    """Times that it was being asked the golden inputs when it was polled."""

    def poll(self) -> Literal["starting", "ready", "dead"]:
        behaviour = self.launcher.behaviour(self.spec)
        self.polls += 1
        if self.polls == 1:
            wrong = self.launcher.wrong(self.spec)
            if behaviour.no_runtime:
                self.dead, self.blamed = behaviour.no_runtime, "runtime"
            elif wrong or behaviour.dies_at_start:
                self.dead = wrong or "killed by SIGSEGV while loading"
        if behaviour.dies_after is not None and self.accepting and self.polls - self.asked > behaviour.dies_after:
            self.dead = "killed by SIGSEGV"
        if self.dead:
            return "dead"
        if self.stopped:
            return "dead"
        return "ready" if self.polls > 1 else "starting"

    def why_dead(self) -> str:
        return self.dead

    def blame(self) -> Literal["variant", "runtime"]:
        return self.blamed

    def kill(self, because: str) -> None:
        self.dead = f"killed: {because}"

    def accept(self) -> None:
        self.accepting = True

    def pause(self) -> None:
        self.accepting = False

    def served(self) -> Served:
        if self.launcher.behaviour(self.spec).hangs:
            self.busy_s = (self.busy_s or 0.0) + 5.0
        behaviour, count = self.launcher.behaviour(self.spec), self.launcher.requests_per_read
        builder = SketchBuilder()
        for _ in range(count):
            builder.add(behaviour.latency_s)
        return Served(
            count,
            round(count * behaviour.errors_percent / 100),
            builder.build(),
            None,
            behaviour.memory_bytes,
            self.busy_s,
        )

    def stop(self, drain_s: float) -> None:
        self.stopped, self.accepting = True, False
