"""What lives only as long as the agent's process: workers, trials, counts since the switch. Nothing here is stored."""

from dataclasses import dataclass, field
from typing import Literal

from edgefleet_protocol.sketch import MAX_COUNT, Sketch, merge
from edgefleet_protocol.telemetry import ModelWindow

from .conditions import Hold
from .rules.seen import HealthSeen, ProbationSeen, WorkerSeen
from .seams import Asked, Asking, Served, Trial, TrialReport, Worker, WorkerSpec

QUIET_AFTER_S = 60.0
"""A worker that lived so long is no longer in a crash loop."""


@dataclass
class Process:
    """A worker, what it was started with, and since when it takes connections."""

    slot: str
    spec: WorkerSpec
    worker: Worker
    accepting_since: float | None = None
    started_s: float | None = None
    """When it was first looked at: within the turn that started it."""

    def seen(self, now: float) -> WorkerSeen:
        """Return how it is now."""
        if self.started_s is None:
            self.started_s = now
        state = self.worker.poll()
        why = self.worker.why_dead() if state == "dead" else ""
        blame = self.worker.blame() if state == "dead" else "variant"
        return WorkerSeen(self.slot, state, self.accepting_since is not None, why, blame, now - self.started_s)


@dataclass
class Tally:
    """Counts of one worker over some stretch of time."""

    requests: int = 0
    errors: int = 0
    latency: Sketch = field(default_factory=Sketch)
    confidence: Sketch | None = None
    memory_bytes: int | None = None

    def add(self, served: Served) -> None:
        """Take in what a worker counted."""
        # A worker runs what others made: a count below zero would make the whole window unreadable.
        self.requests = min(self.requests + max(0, served.requests), MAX_COUNT)
        self.errors = min(self.errors + max(0, served.errors), MAX_COUNT)
        if served.latency.count:
            self.latency = merge([self.latency, served.latency])
        if served.confidence is not None:
            self.confidence = merge([self.confidence or Sketch(), served.confidence])
        if served.memory_bytes is not None:
            self.memory_bytes = served.memory_bytes

    def window(self, spec: WorkerSpec) -> ModelWindow:
        """Return it as the model's part of a telemetry window."""
        return ModelWindow(
            model=spec.model,
            release=spec.release,
            release_sha256=spec.release_sha256,
            variant=spec.variant,
            requests=self.requests,
            errors=self.errors,
            latency=self.latency,
            confidence=self.confidence,
            memory_bytes=self.memory_bytes,
        )


@dataclass
class Live:
    """One model's processes."""

    server: Process | None = None
    candidate: Process | None = None
    asking: Asking | None = None
    """The switch under way: the candidate accepts, the server is paused, and the golden inputs are being asked."""
    leaving: Process | None = None
    """What failed, and serves until the previous one has loaded."""
    trial: tuple[str, Trial] | None = None
    trial_since: float | None = None
    trial_on: str = ""
    """The provider that is tried."""
    aside: str | None = None
    """The slot for which the active worker ended, so that there is memory for it."""
    aside_since: float = 0.0
    ended: Process | None = None
    """What was told to end to make room, until it has ended."""
    over_bound_reads: int = 0
    last: Served | None = None
    """The last reading of the worker that serves."""
    trial_bytes: int = 0
    """Memory that the trial may take."""
    start_not_before: float = 0.0
    crashes_in_a_row: int = 0
    hold: Hold | None = None
    wished: str | None = None
    """Digest of the release that is wished now."""
    told: set[str] = field(default_factory=set)
    """Kinds of events that were told of this wish, of those that are told once."""
    wish_since: tuple[str, float] | None = None
    """(release, monotonic seconds): for deadlines while the clock is not to be trusted."""
    probation: Tally = field(default_factory=Tally)
    window: Tally = field(default_factory=Tally)
    closed: list[ModelWindow] = field(default_factory=list)
    """Counts of workers that were replaced within this window."""
    sampled_at: float = 0.0
    noted_s: float = 0.0
    """What of this worker's time on probation is a fact already."""
    aim: str | None = None
    """The variant that is fetched and tried ahead."""
    governed_at: float = 0.0
    """Monotonic seconds of the governor's last move; of the agent's start at first, so that a restart loop makes no moves."""
    waits: tuple[Literal["trial", "switch"], float] | None = None
    """What it waits in line for, and since when."""

    def follow(self, release_sha256: str | None) -> None:
        """This release is wished now: what was told of another may be told again, and what held that back is tried."""
        if release_sha256 != self.wished:
            self.wished, self.told, self.hold = release_sha256, set(), None

    def first_time(self, kind: str) -> bool:
        """Return whether this kind of event was not told of this wish yet; it counts as told now."""
        first = kind not in self.told
        self.told.add(kind)
        return first

    def sample(self, now: float) -> None:
        """Take in what the serving worker counted since the last time."""
        if self.server is None or self.server.accepting_since is None:
            return
        served = self.server.worker.served()
        bound = self.server.spec.memory_limit_bytes
        over = bound is not None and served.memory_bytes is not None and served.memory_bytes > bound
        self.over_bound_reads = self.over_bound_reads + 1 if over else 0
        self.last = served
        self.probation.add(served)
        self.window.add(served)
        self.sampled_at = now

    def was_asked(self, since: float) -> bool:
        """Return whether the reading of its counts after `since` showed requests."""
        return self.last is not None and self.last.requests > 0 and self.sampled_at >= since

    def watch(self, now: float, every_s: float) -> None:
        """Read the counts of a model that serves, every few seconds; forget deaths that are long ago."""
        if self.server is None or self.server.accepting_since is None:
            return
        if now >= self.sampled_at + every_s:
            self.sample(now)
        if self.crashes_in_a_row and now >= self.server.accepting_since + QUIET_AFTER_S:
            self.crashes_in_a_row = 0

    def stop(self, drain_s: float) -> None:
        """End every process of the model."""
        if self.asking is not None:
            self.asking.stop()
        for process in (self.server, self.candidate, self.leaving, self.ended):
            if process is not None:
                process.worker.stop(drain_s)
        if self.trial is not None:
            self.trial[1].stop()

    def close_window(self) -> list[ModelWindow]:
        """Return the model's parts of the window that ends now, and begin the next."""
        parts = self.closed
        if self.server is not None and self.server.accepting_since is not None:
            parts = [*parts, self.window.window(self.server.spec)]
        self.closed, self.window = [], Tally()
        return parts

    def serve_by(self, process: Process | None) -> None:
        """Another worker, or none, is now the one that serves: counts begin anew."""
        if self.server is not None and self.window.requests:
            self.closed.append(self.window.window(self.server.spec))
        self.server = process
        self.window, self.probation, self.noted_s = Tally(), Tally(), 0.0
        self.over_bound_reads, self.last = 0, None

    def stand_in_line(self, wants: Literal["trial", "switch"] | None, now: float) -> None:
        """Note what the last step waits in line for; its place is kept while it does."""
        if wants is None or self.waits is None or self.waits[0] != wants:
            self.waits = (wants, now) if wants else None

    def waits_for(self, what: Literal["trial", "switch"]) -> float | None:
        """Return since when it waits in line for `what`, or None."""
        return self.waits[1] if self.waits is not None and self.waits[0] == what else None

    def promised_bytes(self) -> int:
        """Return the memory that its workers may still take: those that load, and one that is on trial."""
        loading = [self.candidate] if self.candidate is not None else []
        if self.server is not None and self.server.accepting_since is None:
            loading.append(self.server)
        promised = sum(process.spec.memory_limit_bytes or 0 for process in loading)
        return promised + (self.trial_bytes if self.trial is not None else 0)

    def probation_seen(self, now: float, noted_s: float = 0.0) -> ProbationSeen | None:
        """Return how the serving model behaved since it took over. noted_s: what earlier runs and this one noted of it."""
        if self.server is None or self.server.accepting_since is None:
            return None
        tally = self.probation
        return ProbationSeen(
            elapsed_s=noted_s + now - self.server.accepting_since - self.noted_s,
            unnoted_s=now - self.server.accepting_since - self.noted_s,
            requests=tally.requests,
            errors=tally.errors,
            latency_p95_s=tally.latency.quantile(0.95),
            memory_bytes=tally.memory_bytes,
        )

    def health_seen(self, now: float) -> HealthSeen | None:
        """Return how the worker that serves, or loads to serve, was at the last reading."""
        if self.server is None:
            return None
        since, last, spec = self.server.accepting_since, self.last, self.server.spec
        return HealthSeen(
            busy_s=last.busy_s if last else None,
            silent_s=last.silent_s if last else 0.0,
            silent_asks=last.silent_asks if last else 0,
            memory_bytes=last.memory_bytes if last else None,
            bound_bytes=spec.memory_limit_bytes,
            over_bound_reads=self.over_bound_reads,
            load_s=spec.load_s,
            served_s=now - since if since is not None else 0.0,
        )

    def making_room(self) -> bool:
        """Return whether a worker that was told to end, so that there is memory, has not ended yet."""
        if self.ended is not None and self.ended.worker.poll() == "dead":
            self.ended = None
        return self.ended is not None

    def back_in_place(self) -> None:
        """Nobody needs the room any more: the active one may come back."""
        self.aside = None

    def asked(self) -> Literal["none", "asking"] | Asked:
        """Return `none` while no switch is under way, `asking`, or how the candidate answered.

        One that died is not waited for: its sockets live on, and nobody would answer on them.
        """
        if self.asking is None or self.candidate is None:
            return "none"
        answered = self.asking.poll()
        if (answered is None or answered.why_not) and self.candidate.worker.poll() == "dead":
            return Asked(f"its worker died at the switch: {self.candidate.worker.why_dead()}")
        return answered or "asking"

    def trial_seen(self, slot: str) -> Literal["none", "running"] | TrialReport:
        """Return `none`, `running`, or the report of the trial of `slot`."""
        if self.trial is None or self.trial[0] != slot:
            return "none"
        return self.trial[1].poll() or "running"
