"""The Launcher of the agent: worker processes, with limits that they take themselves, on sockets that outlive them."""

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from edgefleet_protocol.sketch import Sketch, merge

from ..seams import Served, TrialReport, WorkerSpec
from .ask import GoldenAsking
from .front import Front
from .kept import Kept
from .memory import pss_bytes
from .messages import Counted, Do, Done, Failed, Imported, Order, Ready, Said, Tried
from .probing import Units, limits_in_child
from .process import KILL_AFTER_S, WORKER, Channel, Process, folder_of, sweep
from .sockets import OPEN, Access, Sockets

ANSWER_S = 0.2
"""How long a count is waited for. A worker that hangs costs the agent no more than this, once a window."""
LOOK_EVERY_S = 0.02
HEED_S = 1.0
"""How long `accept` and `pause` wait to be heeded, so that what follows finds them done."""


class ProcessLauncher:
    """Implements `seams.Launcher`. Any call to it or to its workers reaps what ended and kills what overstays.

    Workers die with the thread that started them (so it is in the kernel): use it from the agent's main thread.
    """

    def __init__(
        self,
        run_folder: Path,
        port_base: int = 0,
        command: Sequence[str] = WORKER,
        access: Access = OPEN,
        kept: Kept | None = None,
        door: Path | None = None,
    ) -> None:
        """run_folder: where the sockets lie. port_base: first loopback port, 0 for any free one. kept: by systemd.

        door: where workers in units of their own are asked for; children do where that fails, which is tried first.
        """
        self._units = Units(door)
        self._kept = kept or Kept(run_folder, environment={})
        self._access = access
        self._front: Front | None = None
        self._run = run_folder
        self._port_base = port_base
        self._command = tuple(command)
        self._sockets: dict[str, Sockets] = {}
        self._processes: list[Process] = []
        self._limits: dict[str, str] | None = None
        """Which hold in a child, once tried."""

    def limits_held(self) -> dict[str, str]:
        """As tried once in a process that took them all; about 0.1 s at the first call."""
        held = self._units.limits()
        if held is None:
            held = self._limits = self._limits or limits_in_child()
        return dict(held)

    def sockets(self, model: str) -> None:
        """Bind the sockets of `model`, unless they are; raise CannotBind when they cannot be had."""
        if model not in self._sockets:
            self._sockets[model] = Sockets(self._run, model, self._port_base, self._access, self._kept)
            self.front.add(model)

    @property
    def front(self) -> Front:
        """What all models share: the gateway, and the regions of shared memory."""
        if self._front is None:
            self._front = Front(self._run, self._access, self._kept)
        return self._front

    def port(self, model: str) -> int:
        """The loopback port of `model`, whose sockets are bound."""
        return self._sockets[model].port

    def socket_path(self, model: str) -> Path:
        """Where applications find `model`."""
        return self._run / f"{model}.sock"

    def try_out(self, spec: WorkerSpec, wall_limit_s: float) -> "ProcessTrial":
        """Start a trial of a candidate."""
        return ProcessTrial(self, self._spawn(spec, wall_limit_s), wall_limit_s)

    def start(self, spec: WorkerSpec) -> "ProcessWorker":
        """Start a worker; its sockets are bound if they are not yet."""
        self.sockets(spec.model)
        return ProcessWorker(self, self._spawn(spec, None))

    def begin_golden(self, spec: WorkerSpec, deadline_s: float) -> GoldenAsking:
        """Ask through the model's Unix socket; nothing is sent before the first poll."""
        return GoldenAsking(self.socket_path(spec.model), spec, deadline_s)

    def sweep(self) -> None:
        """Reap and kill what is due."""
        for ended in sweep(self._processes):
            if ended.why_no_unit is not None:
                self._units.refused(ended.why_no_unit)
        self._kept.tidy()

    def finish(self, drain_s: float) -> None:
        """End every process once it has answered what it was asked, or after `drain_s`; then close the sockets.

        Workers die with the agent: one that ends without this takes the requests under way with it.
        """
        for process in self._processes:
            process.channel.say(Do(what="stop", drain_s=drain_s, ending=True))
        end = time.monotonic() + drain_s + KILL_AFTER_S
        while self._processes and time.monotonic() < end:
            self.sweep()
            time.sleep(LOOK_EVERY_S)
        self.close()

    def close(self) -> None:
        """End every process now and close the sockets; their names stay for the next start."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(KILL_AFTER_S)
        self._processes.clear()
        for sockets in self._sockets.values():
            sockets.close()
        self._sockets.clear()
        if self._front is not None:
            self._front.close()
            self._front = None

    def _spawn(self, spec: WorkerSpec, trial_wall_s: float | None) -> Process:
        self.sweep()
        if trial_wall_s is None:
            # RLIMIT_CPU counts the whole life of a process: one that serves would die of age.
            spec = dataclasses.replace(spec, cpu_limit_s=None)
        channel = Channel()
        order = Order(
            spec=spec,
            control=channel.theirs.fileno(),
            listeners=self._sockets[spec.model].descriptors if trial_wall_s is None else (),
            trial_wall_s=trial_wall_s,
            agent_pid=os.getpid(),
        )
        if trial_wall_s is None:
            order = self.front.complete(order)
        # In a unit every other user looks like nobody, so one that must know who asks is a child.
        door = None if order.allow_uids or order.allow_gids else self._units.door()
        process = Process(order, channel, self._command, door)
        if process.door_shut is not None:
            self._units.refused(process.door_shut)
        self._processes.append(process)
        return process


class ProcessTrial:
    """Implements `seams.Trial`."""

    def __init__(self, launcher: ProcessLauncher, process: Process, wall_limit_s: float) -> None:
        self._launcher, self._process, self._channel = launcher, process, process.channel
        self._wall_limit_s = wall_limit_s
        self._ends_at = time.monotonic() + wall_limit_s
        self._imported = False
        self._said: TrialReport | None = None
        """What it said, until it has ended."""
        self._report: TrialReport | None = None

    def poll(self) -> TrialReport | None:
        """The report, or None while it runs."""
        if self._report is None:
            # Asked before the channel is read: what it said before it died is still in there.
            alive = self._process.alive
            said = self._channel.hear()
            if isinstance(said, Imported):
                self._imported, said = True, self._channel.hear()
            if said is not None:
                self._said = self._said or _report(said)
                self._process.kill_at = time.monotonic() + KILL_AFTER_S
            if not alive:
                # Not before: its memory is free only now, which the next step may ask for.
                self._report = self._said or self._died()
            elif self._said is None and time.monotonic() >= self._ends_at:
                self._process.kill(f"killed: took longer than {self._wall_limit_s:.0f} s")
        self._launcher.sweep()
        return self._report

    def _died(self) -> TrialReport:
        """A death before the runtime was there is no variant's fault."""
        if (why := _why_early(self._process, self._imported)) is not None:
            return TrialReport(ok=False, reason=why, blame="runtime")
        return TrialReport(ok=False, reason=self._process.words())

    def stop(self) -> None:
        """Kill it."""
        self._process.kill("stopped by the agent")
        self._channel.close()
        self._launcher.sweep()


def _why_early(process: Process, imported: bool) -> str | None:
    """Return why a process ended by itself before it had its runtime; None for any other end. imported: whether it said it had."""
    if imported or not process.crashed:
        return None
    if process.why_no_unit is not None:
        return process.why_no_unit
    return f"the runtime {process.order.spec.runtime} cannot be imported: {process.words()}"


def _report(said: Said) -> TrialReport:
    if isinstance(said, Tried):
        return TrialReport(
            ok=said.ok,
            reason=said.reason,
            latency_p50_s=said.latency_p50_s,
            latency_p95_s=said.latency_p95_s,
            load_s=said.load_s,
            memory_bytes=said.memory_bytes,
            limits_held=said.limits,
            tuning=said.tuning,
            tuning_why=said.tuning_why,
        )
    reason = said.reason if isinstance(said, Failed) else f"a trial said {type(said).__name__}"
    limits: Mapping[str, str] = said.limits if isinstance(said, Failed) else {}
    blame: Literal["variant", "runtime"] = said.blame if isinstance(said, Failed) else "variant"
    return TrialReport(ok=False, reason=reason, limits_held=limits, blame=blame)


class ProcessWorker:
    """Implements `seams.Worker`."""

    def __init__(self, launcher: ProcessLauncher, process: Process) -> None:
        self._launcher, self._process, self._channel = launcher, process, process.channel
        self._ready = False
        self._failed: Failed | None = None
        self._imported = False
        self._asked_s: float | None = None
        self._asks = 0
        self._counted: list[Counted] = []
        self.limits: Mapping[str, str] = {}
        self.load_s: float | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> Literal["starting", "ready", "dead"]:
        """Where it is."""
        alive = self._process.alive
        self._hear_all()
        self._launcher.sweep()
        if not alive or self._process.killed_because is not None:
            self._launcher.front.died(self._process.order.spec, self._process.pid, self._process.words())
            return "dead"
        if self._failed is not None:
            # It ends by itself in a moment; for the agent it is over.
            self._process.kill_at = self._process.kill_at or time.monotonic() + KILL_AFTER_S
            return "dead"
        return "ready" if self._ready else "starting"

    def why_dead(self) -> str:
        """How it ended, in words."""
        self._hear_all()
        if self._failed is not None:
            return self._failed.reason
        return _why_early(self._process, self._imported) or self._process.words()

    def blame(self) -> Literal["variant", "runtime"]:
        """What its death is laid to."""
        if self._failed is not None:
            return self._failed.blame
        return "runtime" if _why_early(self._process, self._imported) else "variant"

    def kill(self, because: str) -> None:
        """End it at once."""
        self._process.kill(because)
        self._launcher.sweep()

    def accept(self) -> None:
        """Take connections; returns when it does, or after a second."""
        self._heed("accept")
        if self._process.alive:
            self._launcher.front.serves(self._process.order.spec, self._process.pid)

    def pause(self) -> None:
        """Take no more connections; returns when that is so, or after a second."""
        self._heed("pause")

    def served(self) -> Served:
        """Counts since the last call. What comes late is in the next ones; nothing is lost or counted twice."""
        if self._ready and self._process.alive:
            now = time.monotonic()
            self._channel.say(Do(what="served"))
            if self._hear_until(lambda said: isinstance(said, Counted), ANSWER_S):
                self._asked_s, self._asks = None, 0
            else:
                self._asked_s, self._asks = self._asked_s or now, self._asks + 1
        self._hear_all()
        counted, self._counted = self._counted, []
        confidences = [count.confidence for count in counted if count.confidence is not None]
        memory_bytes = pss_bytes(folder_of(self._process)) if self._process.alive else None
        if memory_bytes is None and self._process.alive and counted:
            memory_bytes = counted[-1].memory_bytes
        self._launcher.sweep()
        return Served(
            requests=sum(count.requests for count in counted),
            errors=sum(count.errors for count in counted),
            latency=merge(count.latency for count in counted) if counted else Sketch(),
            confidence=merge(confidences) if confidences else None,
            memory_bytes=memory_bytes,
            busy_s=counted[-1].busy_s if counted else None,
            silent_s=time.monotonic() - self._asked_s if self._asked_s is not None else 0.0,
            silent_asks=self._asks,
        )

    def stop(self, drain_s: float) -> None:
        """Tell it to end; whoever overstays by more than two seconds is killed."""
        if self._process.kill_at is None:
            self._channel.say(Do(what="stop", drain_s=drain_s))
            self._process.kill_at = time.monotonic() + drain_s + KILL_AFTER_S
        self._launcher.sweep()

    def _heed(self, what: Literal["accept", "pause"]) -> None:
        if not self._process.alive:
            return
        self._channel.say(Do(what=what))
        self._hear_until(lambda said: isinstance(said, Done) and said.what == what, HEED_S)
        self._launcher.sweep()

    def _hear_until(self, wanted: Callable[[Said], bool], timeout_s: float) -> bool:
        """Return whether it was heard in time."""
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            said = self._channel.hear(left)
            if said is None:
                return False
            self._take(said)
            if wanted(said):
                return True
        return False

    def _hear_all(self) -> None:
        while (said := self._channel.hear()) is not None:
            self._take(said)

    def _take(self, said: Said) -> None:
        match said:
            case Ready():
                self._ready, self.limits, self.load_s = True, said.limits, said.load_s
            case Failed():
                self._failed = said
            case Imported():
                self._imported = True
            case Counted():
                self._counted.append(said)
            case Done() | Tried():
                pass
