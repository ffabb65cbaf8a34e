"""The one next move of a rollout. Pure: the order of the lines is the policy."""

from dataclasses import dataclass
from typing import Literal

from edgefleet_protocol.rollout import NotWorse

from ..store.rollouts import Record, Status
from .compare import Comparison
from .gates import Tally, judge
from .waves import Wave
from .words import span

Kind = Literal["wait", "wave", "soak", "open", "complete", "pause", "go-back"]


@dataclass(frozen=True)
class Move:
    """What to do, and why."""

    kind: Kind
    why: str
    opened_percent: float | None = None
    """Of a wave: how far the stage is open then; None: all of it."""

    def status(self, before: Status) -> Status:
        """The record's status after this move."""
        after: dict[Kind, Status] = {"complete": "complete", "pause": "paused", "go-back": "gone-back"}
        return after.get(self.kind, before)

    def stage(self, before: int) -> int:
        """The record's stage after this move."""
        return before + 1 if self.kind == "open" else before


@dataclass(frozen=True)
class Compared:
    """The two models on the same devices, and in how many seconds more is known; None where nobody can say."""

    found: Comparison
    expected_s: float | None = None
    later: Comparison | None = None
    """By what devices served later, where stages are judged on; None where they are not. It speaks against a model only."""

    @property
    def worse(self) -> str | None:
        """Why the model is worse, or None where it may not be."""
        if self.found.result == "worse":
            return self.found.why
        if self.later is not None and self.later.result == "worse":
            return f"later on, {self.later.why}"
        return None


def decide(
    record: Record,
    counts: Tally,
    proven_anywhere: int,
    now: float,
    compared: Compared | None = None,
    wave: Wave | None = None,
    *,
    empty: bool = False,
) -> Move:
    """Return the next move of `record`.

    counts: the devices of the open stage.
    proven_anywhere: devices of the region that have proven the release, in whichever stage.
    compared: the model against the one before; None where the gate does not ask, or nothing ran before.
    wave: how far the open stage may be opened now; None while too many are under way.
    empty: whether the open stage, by itself, is for no device.
    """
    if record.status in ("complete", "gone-back", "superseded"):
        return Move("wait", record.why)
    gate = record.assignment.stages[record.stage].gate
    verdict = judge(gate, counts)
    place = _place(record)
    if verdict.result == "broken":
        # Also while paused by hand: a pause holds the next stage back, not the way home.
        return Move("go-back", f"{place}: {verdict.why}")
    if compared is not None and compared.worse is not None and gate.not_worse is not None:
        why = f"{place}: the model is worse than the one before on the same devices: {compared.worse}"
        if gate.not_worse.on_worse == "go-back":
            return Move("go-back", why)
        if record.status != "paused":
            return Move("pause", why)
    if record.status == "paused":
        return Move("wait", record.why)
    if record.assignment.opened_percent is not None:
        if wave is None:
            return Move("wait", f"{place}: opens in waves, and waits for those that are under way; {verdict.why}")
        return Move("wave", f"{place}: {wave.why}", wave.percent)
    if verdict.result == "wait":
        return Move("wait", f"{place}: {verdict.why}")
    if verdict.result == "too few":
        return _patience(record, f"{place}: {verdict.why}", now)
    if not record.is_last_stage and (empty or counts.members == 0):
        return _patience(record, f"{place}: {_nobody(record)}", now)
    if counts.members == 0:
        if proven_anywhere == 0:
            return _patience(record, f"{place}: no device of the region is meant yet", now)
    elif not counts.proven and proven_anywhere == 0:
        return _patience(record, f"{place}: {verdict.why}", now)
    said = verdict.why
    if compared is not None and gate.not_worse is not None and counts.proven:
        if compared.found.result == "too little" and (held := _evidence(record, gate.not_worse, compared, place, now)):
            return held
        said += f"; {_said(compared)}"
    if (soaks := _soak(record, f"{place}: {said}", now)) is not None:
        return soaks
    if not record.is_last_stage:
        return _open(record, f"{place}: {said}")
    outstanding = f", {len(counts.apart)} outstanding" if counts.apart else ""
    return Move("complete", f"{place}: {said}{outstanding}")


def _soak(record: Record, why: str, now: float) -> Move | None:
    """Once the gate is open its devices are judged on for a while: what fails, or gets worse, later still counts. None: go on."""
    soak_s = record.assignment.stages[record.stage].soak_s
    if not soak_s:
        return None
    if record.soaking_s is None:
        return Move("soak", f"{why}; it is judged on for {span(soak_s)}")
    if now - record.soaking_s < soak_s:
        return Move("wait", f"{why}; it is judged on for {span(soak_s)}")
    return None


def _nobody(record: Record) -> str:
    """What nobody runs proves nothing: the next stage waits for a device, or for a person's word."""
    come = (
        "it waits for one that comes"
        if record.assignment.joined_before is None
        else "those that come to the region now take it once it is complete"
    )
    return (
        f"it is for no device of the region, so nothing is proven by it; {come}. To go on all the same: edgefleet rollout next "
        f"{record.region}"
    )


def _open(record: Record, why: str) -> Move:
    """The next stage opens by itself, unless a person must say yes first."""
    if record.assignment.stages[record.stage + 1].approval and record.approved <= record.stage:
        return Move(
            "wait", f"{why}; stage {record.stage + 2} waits for a person: edgefleet rollout approve {record.region}"
        )
    return Move("open", why)


def _evidence(record: Record, rules: NotWorse, compared: Compared, place: str, now: float) -> Move | None:
    """Too little evidence is an outcome of its own: wait as long as the gate allows, then what it says. None: go on."""
    if now - record.admitted_s < rules.wait_s:
        known = compared.expected_s
        when = "nobody can say when there is more" if known is None else f"a verdict is expected in {span(known)}"
        return Move("wait", f"{place}: too little evidence yet, {when}: {compared.found.why}")
    if rules.too_little == "go-on":
        return None
    return Move(
        "pause",
        f"{place}: too little evidence after {span(rules.wait_s)}, and its gate does not go on without: {compared.found.why}. "
        f"To go on all the same: edgefleet rollout next {record.region}",
    )


def _said(compared: Compared) -> str:
    if compared.found.result == "not worse":
        return f"not worse than the model before: {compared.found.why}"
    return f"goes on with too little evidence, as its gate says: {compared.found.why}"


def _place(record: Record) -> str:
    stage = record.assignment.stages[record.stage]
    kinds = [f"{stage.percent:.4g} %"] if stage.percent or not stage.devices else []
    kinds += [f"of {', '.join((*stage.hardware, *stage.tags))}"] if stage.hardware or stage.tags else []
    kinds += (
        [f"{len(stage.devices)} named" if not kinds else f"and {len(stage.devices)} named"] if stage.devices else []
    )
    return f"stage {record.stage + 1} of {len(record.assignment.stages)} ({' '.join(kinds)})"


def _patience(record: Record, why: str, now: float) -> Move:
    """Nothing was proven by anyone: wait for a device until the deadline, then ask a person; never go on blindly."""
    waited_s = now - record.admitted_s
    if waited_s > record.assignment.deadline_s:
        return Move("pause", f"{why}, for {waited_s:.0f} s, so there is no evidence to go on with")
    return Move("wait", why)
