"""What a trial measured, for the state, for people and for choosing. Pure."""

from edgefleet_protocol.messages import Measured

from .. import steps
from ..seams import TrialReport
from ..store.facts import ModelFacts

MAX_SECONDS = 1e9
"""What the protocol can say of a time."""


def measured(step: steps.NoteTrial, report: TrialReport) -> Measured | None:
    """Return what the trial measured, as the state tells it; None when it measured no time."""
    p50, p95 = report.latency_p50_s, report.latency_p95_s
    if p50 is None or p95 is None or not all(0 <= value <= MAX_SECONDS for value in (p50, p95)):
        return None  # a worker runs what others made: a number that no document can carry is no measurement
    return Measured(
        release=step.release.name,
        variant=step.variant.name,
        latency_p50_s=p50,
        latency_p95_s=p95,
        memory_bytes=_count(report.memory_bytes),
    )


def _count(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= 2**53 else None


def trial_words(step: steps.NoteTrial, report: TrialReport) -> str:
    """Return what a trial found, for people."""
    words = f"{step.release.name} ({step.variant.name}) answered its golden inputs"
    if report.latency_p50_s is not None:
        words += f", p50 {report.latency_p50_s * 1e3:.2f} ms"
    if report.memory_bytes is not None:
        words += f", {report.memory_bytes / 1e6:.0f} MB"
    if report.tuning is not None:
        words += f"; served with {report.tuning_why or report.tuning}"
    return words


def measured_p50(facts: ModelFacts, release: str) -> dict[str, float]:
    """Return p50 in seconds by variant, from trials of this release on this very device."""
    rows = [fact.measured for fact in facts.trials if fact.measured is not None]
    return {row.variant: row.latency_p50_s for row in rows if row.release == release}
