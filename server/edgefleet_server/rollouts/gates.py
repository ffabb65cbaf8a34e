"""May the next stage open? The counts of one stage against its gate. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from edgefleet_protocol.rollout import Gate

from .evidence import Evidence, Standing

APART: tuple[Standing, ...] = ("offline", "frozen", "left out")
NAMED = 3
"""Devices that a reason names before it only counts."""


@dataclass(frozen=True)
class Tally:
    """The devices of the open stage, by what they are to it."""

    proven: tuple[Evidence, ...] = ()
    failed: tuple[Evidence, ...] = ()
    under_way: tuple[Evidence, ...] = ()
    apart: tuple[Evidence, ...] = ()

    @property
    def eligible(self) -> int:
        """Devices that count."""
        return len(self.proven) + len(self.failed) + len(self.under_way)

    @property
    def members(self) -> int:
        """Devices that the stage admits, those that are counted apart too."""
        return self.eligible + len(self.apart)


def tally(evidence: Iterable[Evidence]) -> Tally:
    """Return the counts of a stage; whoever is outside of it is in none."""
    groups: dict[str, list[Evidence]] = {"proven": [], "failed": [], "under way": [], "apart": []}
    for row in evidence:
        if row.standing in APART:
            groups["apart"].append(row)
        elif row.standing == "away":
            groups["under way"].append(row)
        elif row.standing != "outside":
            groups[row.standing].append(row)
    return Tally(*(tuple(groups[name]) for name in ("proven", "failed", "under way", "apart")))


@dataclass(frozen=True)
class Verdict:
    """What a gate says, and why. `too few`: it wants more devices than the stage has."""

    result: Literal["open", "wait", "broken", "too few"]
    why: str


def judge(gate: Gate, counts: Tally) -> Verdict:
    """Return whether the gate is open, to be waited for, or broken by failures.

    Failures are measured against all devices that count, not only those that came to an end: so the gate breaks as soon
    as no later proof could mend it, and not because the first of a hundred failed where one in ten may.
    """
    if why := _broken(gate, counts):
        return Verdict("broken", why)
    can = len(counts.proven) + len(counts.under_way)
    apart = f"; {len(counts.apart)} counted apart: {names(counts.apart)}" if counts.apart else ""
    said = f"{len(counts.proven)} of {can} proven"
    if can < gate.min_proven:
        return Verdict("too few", f"{said}, and its gate wants {gate.min_proven} at least{apart}")
    if can == 0:
        return Verdict("open", f"no device of this stage can prove it now{apart}")
    share = 100 * len(counts.proven) / can
    if share < gate.min_proven_percent or len(counts.proven) < gate.min_proven:
        needed = (
            f"{gate.min_proven_percent:g} % needed" if share < gate.min_proven_percent else f"{gate.min_proven} needed"
        )
        return Verdict("wait", f"{said}, {needed}; waits for {names(counts.under_way)}{apart}")
    return Verdict("open", f"{said}{apart}")


def _broken(gate: Gate, counts: Tally) -> str | None:
    failed = len(counts.failed)
    if not failed:
        return None
    if gate.max_failed is not None and failed > gate.max_failed:
        return f"{failed} of {counts.eligible} failed where {gate.max_failed} may: {names(counts.failed)}"
    if failed + len(counts.proven) < gate.min_ended:
        return None
    share = 100 * failed / counts.eligible
    if share > gate.max_failed_percent:
        return f"{failed} of {counts.eligible} failed, {share:.0f} % where {gate.max_failed_percent:g} % may: {names(counts.failed)}"
    return None


def names(rows: tuple[Evidence, ...]) -> str:
    """Return the first devices of `rows` with their reasons, and how many more there are."""
    named = ", ".join(f"{row.device} ({row.why})" for row in rows[:NAMED])
    more = len(rows) - NAMED
    return f"{named} and {more} more" if more > 0 else named
