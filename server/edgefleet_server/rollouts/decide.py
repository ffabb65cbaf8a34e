"""The one next move of a rollout. Pure: the order of the lines is the policy."""

from dataclasses import dataclass
from typing import Literal

from ..store.rollouts import Record, Status
from .gates import Tally, judge

Kind = Literal["wait", "open", "complete", "pause", "go-back"]


@dataclass(frozen=True)
class Move:
    """What to do, and why."""

    kind: Kind
    why: str

    def status(self, before: Status) -> Status:
        """The record's status after this move."""
        after: dict[Kind, Status] = {"complete": "complete", "pause": "paused", "go-back": "gone-back"}
        return after.get(self.kind, before)

    def stage(self, before: int) -> int:
        """The record's stage after this move."""
        return before + 1 if self.kind == "open" else before


def decide(record: Record, counts: Tally, proven_anywhere: int, now: float) -> Move:
    """Return the next move of `record`.

    counts: the devices of the open stage.
    proven_anywhere: devices of the region that have proven the release, in whichever stage.
    """
    if record.status in ("complete", "gone-back", "superseded"):
        return Move("wait", record.why)
    gate = record.assignment.stages[record.stage].gate
    verdict = judge(gate, counts)
    place = f"stage {record.stage + 1} of {len(record.assignment.stages)} ({record.assignment.percent:g} %)"
    if verdict.result == "broken":
        # Also while paused by hand: a pause holds the next stage back, not the way home.
        return Move("go-back", f"{place}: {verdict.why}")
    if record.status == "paused":
        return Move("wait", record.why)
    if verdict.result == "wait":
        return Move("wait", f"{place}: {verdict.why}")
    if counts.members == 0:
        if not record.is_last_stage:
            return Move("open", f"{place}: no device of the region falls into it")
        if proven_anywhere == 0:
            return _patience(record, f"{place}: no device of the region is meant yet", now)
    elif not counts.proven and proven_anywhere == 0:
        return _patience(record, f"{place}: {verdict.why}", now)
    if not record.is_last_stage:
        return Move("open", f"{place}: {verdict.why}")
    outstanding = f", {len(counts.apart)} outstanding" if counts.apart else ""
    return Move("complete", f"{place}: {verdict.why}{outstanding}")


def _patience(record: Record, why: str, now: float) -> Move:
    """Nothing was proven by anyone: wait for a device until the deadline, then ask a person; never go on blindly."""
    waited_s = now - record.stage_opened_s
    if waited_s > record.assignment.deadline_s:
        return Move("pause", f"{why}, for {waited_s:.0f} s, so there is no evidence to go on with")
    return Move("wait", why)
