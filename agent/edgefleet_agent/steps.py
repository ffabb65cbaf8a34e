"""The steps: what `decide` may answer. Each carries its reason in words, which `status` and the state print as they are."""

from dataclasses import dataclass
from typing import Literal

from edgefleet_protocol.manifest import Chunk, Release, Variant
from edgefleet_protocol.messages import Failure
from edgefleet_protocol.rollout import Assignment, Policy

from .store.facts import Slot


@dataclass(frozen=True)
class Wait:
    """Nothing to do for now. `until`: monotonic seconds when to look again at the latest."""

    why: str
    until: float | None = None
    ends_s: float | None = None
    """Seconds since 1970 when what it waits for ends by itself, where that is known."""
    wants: Literal["trial", "switch"] | None = None
    """What it waits in line for: a trial (one at a time on a device), or the end of a lease."""
    tell: str | None = None
    """The kind of event that tells the server of it, once for each wish; None where the state's words are enough."""


@dataclass(frozen=True)
class Serve:
    """Start the worker of the active slot."""

    slot: Slot
    why: str


@dataclass(frozen=True)
class Accept:
    """The worker of the active slot has loaded the model: let it take connections."""

    slot: Slot
    why: str


@dataclass(frozen=True)
class CountCrash:
    """The active worker died: note it, and start it again after `again_in_s`."""

    slot: Slot
    again_in_s: float
    why: str


@dataclass(frozen=True)
class Restore:
    """The active slot cannot serve: put it together again, or go back to the previous one."""

    slot: Slot
    why: str


@dataclass(frozen=True)
class NoteWish:
    """A release is wished for the first time: its deadline runs from now."""

    assignment: Assignment
    why: str


@dataclass(frozen=True)
class Choose:
    """Choose the variant, once for this wish, hardware and agent version."""

    release: Release
    release_sha256: str
    policy: Policy
    key: str
    why: str


@dataclass(frozen=True)
class Fetch:
    """Ask for the chunks that are missing."""

    release: str
    missing: tuple[Chunk, ...]
    why: str


@dataclass(frozen=True)
class Assemble:
    """Put the files of the variant together, and verify them."""

    release: Release
    release_sha256: str
    variant: Variant
    why: str


@dataclass(frozen=True)
class Try:
    """Start a trial of the candidate in a process of its own."""

    release: Release
    release_sha256: str
    variant: Variant
    why: str


@dataclass(frozen=True)
class NoteTrial:
    """A trial ended: keep what it found."""

    release: Release
    release_sha256: str
    variant: Variant
    why: str


@dataclass(frozen=True)
class Load:
    """Start the worker of the candidate beside the one that serves."""

    release: Release
    release_sha256: str
    variant: Variant
    why: str


@dataclass(frozen=True)
class Activate:
    """Switch: the candidate takes over, and is asked the golden inputs through the serving path."""

    release: Release
    release_sha256: str
    variant: Variant
    why: str


@dataclass(frozen=True)
class Settle:
    """The candidate that was asked at the switch answered, or did not: it is active, or the old one takes over again."""

    why: str


@dataclass(frozen=True)
class NoteProbation:
    """So much of the probation is over: kept, so that an agent that is started again does not begin it anew."""

    add_s: float
    why: str


@dataclass(frozen=True)
class NoteCalm:
    """The worker of a proven model lives again: deaths before are forgotten."""

    why: str


@dataclass(frozen=True)
class ForgetWish:
    """The owner holds the model: the wish's deadline runs anew from when it is released."""

    why: str


@dataclass(frozen=True)
class Govern:
    """Work towards another variant of the release that runs: `below` are those stepped down to, the last one now."""

    release_sha256: str
    chosen: str
    below: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Prove:
    """Probation is over, and it behaved."""

    slot: Slot
    why: str


@dataclass(frozen=True)
class Fail:
    """Remember what failed, so that it is not tried again. What serves goes on serving."""

    failure: Failure
    why: str


@dataclass(frozen=True)
class FallBack:
    """Bring the previous one back; where there is none, only remember the failure."""

    failure: Failure
    to: Slot | None
    why: str


@dataclass(frozen=True)
class StandAside:
    """There is no memory for two: the active worker ends, so that the candidate can be tried and loaded. Requests wait."""

    release_sha256: str
    variant: Variant
    why: str


@dataclass(frozen=True)
class ComeBack:
    """What the active worker made room for does not come now: it serves again."""

    why: str


@dataclass(frozen=True)
class EndWorker:
    """The active worker hangs: kill it, and count that as a death."""

    slot: Slot
    why: str


@dataclass(frozen=True)
class Replace:
    """A fresh worker of the active slot takes over from the one that serves."""

    slot: Slot
    beside: bool
    """Whether there is memory for both; else the old one ends first, and requests wait."""
    why: str


@dataclass(frozen=True)
class NoteRuntime:
    """The runtime itself cannot be imported. Nothing failed; all is tried again in a while."""

    slot: Slot | None
    """The active slot, when it is its worker that said so."""
    why: str


@dataclass(frozen=True)
class Cancel:
    """What was under way is no longer wished: end the trial and the candidate. What serves goes on serving."""

    why: str


@dataclass(frozen=True)
class Collect:
    """Remove chunks, slots and documents that nothing needs."""

    why: str


Step = (
    Wait
    | Serve
    | Accept
    | CountCrash
    | Restore
    | NoteWish
    | Choose
    | Fetch
    | Assemble
    | Try
    | NoteTrial
    | Load
    | Activate
    | Settle
    | NoteProbation
    | NoteCalm
    | ForgetWish
    | Govern
    | Prove
    | Fail
    | FallBack
    | StandAside
    | ComeBack
    | EndWorker
    | Replace
    | NoteRuntime
    | Cancel
    | Collect
)
