"""What `decide` looks at: one model as it is wished and as it is on this device. Records, and what they say together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Literal

from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.manifest import Chunk, Release, Variant
from edgefleet_protocol.messages import Failure
from edgefleet_protocol.rollout import Assignment, Policy

from ..conditions import Hold, Surroundings
from ..seams import Asked, TrialReport
from ..store.facts import ModelFacts, Slot


@dataclass(frozen=True)
class Lease:
    """A process that may not be interrupted, until a time in monotonic seconds."""

    pid: int
    program: str
    until: float

    @property
    def words(self) -> str:
        """Who it is, for people."""
        return f"{self.program or 'a program'} (pid {self.pid})"


@dataclass(frozen=True)
class Strain:
    """What presses the device now, and for how long. Times are monotonic seconds."""

    why: str | None = None
    """The reason in words; None while nothing presses."""
    memory: bool = False
    """Whether it is memory that is short, and not time or energy."""
    since: float = 0.0
    calm_since: float | None = None
    """Since when every reason is over by its margin; None while one is not."""


Stage = Literal["choose", "fetch", "verify", "trial", "switch", "probation", "deadline"]
FINAL_STAGES = ("choose", "switch", "probation", "deadline")
"""A failure at one of these is the whole release's: it failed for real requests, or nothing of it is left to try.
A variant that fails in `fetch`, `verify` or `trial` hurt nobody, so the next one is tried."""


@dataclass(frozen=True)
class WorkerSeen:
    """A worker process."""

    slot: str
    state: Literal["starting", "ready", "dead"]
    accepting: bool = False
    why_dead: str = ""
    blame: Literal["variant", "runtime"] = "variant"
    """What a death is laid to."""
    age_s: float = 0.0
    """Since it was started."""


@dataclass(frozen=True)
class ProbationSeen:
    """How the active model behaved since it took over; counts are of this run of its worker."""

    elapsed_s: float
    """In earlier runs of the agent, too."""
    requests: int = 0
    errors: int = 0
    latency_p95_s: float | None = None
    memory_bytes: int | None = None
    unnoted_s: float = 0.0
    """What of the time is not a fact yet."""


@dataclass(frozen=True)
class HealthSeen:
    """What was seen of the worker that serves at the last readings."""

    busy_s: float | None = None
    """How long the oldest inference under way has been running; None when none is, or nobody said."""
    silent_s: float = 0.0
    """Since the first question that it left without an answer; 0 when it answers."""
    silent_asks: int = 0
    memory_bytes: int | None = None
    bound_bytes: int | None = None
    """Signed."""
    over_bound_reads: int = 0
    load_s: float = 60.0
    """Signed."""
    served_s: float = 0.0


@dataclass(frozen=True)
class Desired:
    """What the region wishes of one model on this device."""

    model: str
    policy: Policy
    assignment: Assignment | None = None
    why: str = ""
    """Why there is no assignment, or why no earlier one."""
    release: Release | None = None
    problem: str | None = None
    """Why the wished release must not or cannot be obeyed."""
    recovered: bool = False
    """Whether it is not the region's wish but what was found on the disk after the facts were lost."""
    pinned: str | None = None
    """In words, that the owner pinned this release, and over which wish of the region it wins."""

    @property
    def sha256(self) -> str | None:
        """Digest of the wished release."""
        return self.assignment.release.sha256 if self.assignment else None


@dataclass(frozen=True)
class Observed:
    """One model, as it is on this device."""

    model: str
    facts: ModelFacts
    hardware: Hardware
    agent_version: str
    around: Surroundings
    now_s: float
    """By the wall's clock; for marks only."""
    wish_age_s: float | None = None
    """Since the wished release was first seen; None when it was not noted yet."""
    missing: tuple[Chunk, ...] = ()
    """Of the chosen variant."""
    slots: frozenset[str] = frozenset()
    trial: Literal["none", "running"] | TrialReport = "none"
    server: WorkerSeen | None = None
    candidate: WorkerSeen | None = None
    asked: Literal["none", "asking"] | Asked = "none"
    """How far a switch is: whether the candidate answered the golden inputs."""
    start_not_before: float = 0.0
    crashes_in_a_row: int = 0
    probation: ProbationSeen | None = None
    troubles: Mapping[str, str] = field(default_factory=dict)
    """By chunk, in words: those that were refused, or do not come."""
    hold: Hold | None = None
    health: HealthSeen | None = None
    aside: bool = False
    """Whether the active one made room for the chosen variant."""
    making_room: bool = False
    """Whether the one that made room has not ended yet."""
    stray: bool = False
    """Whether a trial or a worker runs for something that nobody wishes any more."""
    board: str = ""
    """Name of what a trial here depends on beyond the variant."""
    provider: str = ""
    """What the chosen variant is tried on next; empty when every provider failed here."""
    served_on: str = ""
    """What the active worker runs on."""
    unservable: str = ""
    """Why the active variant cannot run on this device any more."""
    trial_s: float = 0.0
    """How long the trial has been running."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reason by variant, of those of the wished release that failed here."""
    aim: str | None = None
    """The variant that is worked towards now, where it is not the one to serve: fetched and tried ahead."""
    clock_trusted: bool = True
    zone: tzinfo | None = None
    """By which the region's windows are read; None where this system does not know it."""
    held: str | None = None
    """In words, that the owner lets nothing new begin."""
    hold_ends_s: float | None = None
    released_s: float = 0.0
    """When the owner last ended a quarantine, in seconds since 1970."""
    leases: tuple[Lease, ...] = ()
    switch_waits_since: float | None = None
    """Monotonic seconds since when a switch is ready and waits for leases."""
    may_try: bool = True
    """Whether it is this model's turn to start a trial."""
    strain: Strain = Strain()
    governed_at: float = 0.0
    """Monotonic seconds of the governor's last move, or of the start of the agent."""


def failed_variants(facts: ModelFacts, release_sha256: str | None) -> dict[str, str]:
    """Return the reason by variant, of those of one release that failed here."""
    rows = [row for row in facts.failures if row.release_sha256 == release_sha256 and row.stage != "choose"]
    return {row.variant: f"{row.stage}: {row.reason}" for row in rows}


def is_late(seen: Observed, want: Desired) -> bool:
    return want.assignment is not None and (seen.wish_age_s or 0.0) > want.assignment.deadline_s


def final_failure(facts: ModelFacts, release_sha256: str | None) -> Failure | None:
    """Return the failure that ended a release here, or None.

    Where a variant of it is proven, another one that fails for real requests ends only itself.
    """
    if release_sha256 is None:
        return None
    excused = ("switch", "probation") if facts.was_proven(release_sha256) else ()
    rows = (row for row in facts.failures if row.release_sha256 == release_sha256)
    return next((row for row in rows if row.stage in FINAL_STAGES and row.stage not in excused), None)


def is_final(facts: ModelFacts, release_sha256: str) -> bool:
    return final_failure(facts, release_sha256) is not None


def governed_variant(facts: ModelFacts, release_sha256: str | None) -> str | None:
    """Return the cheaper variant that the governor stepped down to, while that departs from the choice that holds now."""
    governed, choice = facts.governed, facts.choice
    if (
        governed is None
        or choice is None
        or not governed.below
        or governed.below[-1] in failed_variants(facts, release_sha256)
    ):
        return None
    same = governed.release_sha256 == release_sha256 == choice.release_sha256 and governed.chosen == choice.variant
    return governed.below[-1] if same else None


def to_serve(facts: ModelFacts, release_sha256: str | None) -> str | None:
    """Return the variant that is to serve: the governor's, else the chosen one."""
    governed = governed_variant(facts, release_sha256)
    return governed or (facts.choice.variant if facts.choice is not None else None)


def is_relief(seen: Observed, want: Desired) -> bool:
    """Return whether the move under way is the governor's, which must not wait for what it relieves."""
    return seen.aim is None and governed_variant(seen.facts, want.sha256) is not None


def back_to(facts: ModelFacts) -> Slot | None:
    """Return what serves again when the active one must not: what the governor departed from, else the version before."""
    governed, active = facts.governed, facts.active
    base = governed.base if governed is not None else None
    if base is None or active is None or active.release_sha256 != base.release_sha256 or active.slot == base.slot:
        return facts.previous
    return base


def chosen(seen: Observed, want: Desired) -> Variant:
    """The variant that is worked towards. The rules before made sure that there is one."""
    name = seen.aim or to_serve(seen.facts, want.sha256)
    assert want.release is not None and name is not None
    variant = want.release.variant(name)
    assert variant is not None
    return variant


def chosen_name(seen: Observed, want: Desired) -> str:
    choice = seen.facts.choice
    if choice is not None and choice.release_sha256 == want.sha256 and choice.variant is not None:
        return choice.variant
    return want.release.variants[0].name if want.release else "none"


def wished_name(want: Desired) -> str:
    return want.release.name if want.release else (want.assignment.release.path if want.assignment else want.model)


def failure_of(seen: Observed, release: str, sha256: str, variant: str, stage: Stage, reason: str) -> Failure:
    return Failure(
        release=release, release_sha256=sha256, variant=variant, stage=stage, reason=reason[:2000], at_s=seen.now_s
    )
