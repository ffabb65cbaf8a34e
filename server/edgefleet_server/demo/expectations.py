"""What the demo promises, checked on what came out. Pure."""

from dataclasses import dataclass

from .cast import MIN_REQUESTS
from .outcome import Outcome

LOSS_LIMIT = 0.01
"""A compressed variant may be one point of accuracy below the original."""


@dataclass(frozen=True)
class Expectation:
    """One promise, whether it was kept, and the figures."""

    promise: str
    kept: bool
    figures: str


def check(outcome: Outcome, good: str, golden_wrong: str, too_slow: str) -> tuple[Expectation, ...]:
    """Return every promise. `good`, `golden_wrong` and `too_slow` are names of releases."""
    states = {row.id: f"{row.release} {row.variant} {row.state}" for row in outcome.devices}
    variants = {row.variant for row in outcome.devices if row.variant}
    losses = {row.name: outcome.original_accuracy - row.accuracy for row in outcome.variants}
    backs = {(row.release, row.stage) for row in outcome.rolled_back}
    return (
        Expectation(
            f"every device runs {good}, proven",
            bool(outcome.devices) and all(row.release == good and row.state == "proven" for row in outcome.devices),
            ", ".join(f"{device}: {state}" for device, state in states.items()),
        ),
        Expectation("at least three different variants were chosen", len(variants) >= 3, ", ".join(sorted(variants))),
        Expectation("there are at least four variants", len(outcome.variants) >= 4, str(len(outcome.variants))),
        Expectation(
            "no variant is more than one point below the original",
            all(loss <= LOSS_LIMIT for loss in losses.values()),
            ", ".join(f"{name}: {-loss * 100:+.2f} points" for name, loss in losses.items()),
        ),
        Expectation(
            f"{golden_wrong}, whose golden answers are wrong, was refused in the trial",
            (golden_wrong, "trial") in backs and all(stage == "trial" for name, stage in backs if name == golden_wrong),
            _where(outcome, golden_wrong),
        ),
        Expectation(
            f"{too_slow}, which breaks its latency budget, was sent back in probation",
            (too_slow, "probation") in backs,
            _where(outcome, too_slow),
        ),
        Expectation(
            "neither bad release is on a device",
            all(row.release not in (golden_wrong, too_slow) for row in outcome.devices),
            ", ".join(sorted({str(row.release) for row in outcome.devices})),
        ),
        Expectation(
            f"at least {MIN_REQUESTS} requests were sent and none failed",
            outcome.requests.sent >= MIN_REQUESTS and outcome.requests.failed == 0,
            f"{outcome.requests.sent} sent, {outcome.requests.failed} failed",
        ),
    )


def _where(outcome: Outcome, release: str) -> str:
    rows = [f"{row.device} in {row.stage}" for row in outcome.rolled_back if row.release == release]
    return ", ".join(rows) or "it failed nowhere"
