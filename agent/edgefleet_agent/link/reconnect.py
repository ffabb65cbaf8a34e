"""When to try the broker again: full jitter, so that a fleet that lost it together does not come back in step. Pure."""

FIRST_LIMIT_S, LAST_LIMIT_S = 1.0, 60.0
LEAST_S = 0.05
STEADY_S = 30.0
"""A connection that lasted so long was a good one. One that ends sooner counts as a failed try: a broker that takes
everybody and drops them at once, or a second device under this one's name, would be asked every half second else."""


def delay_s(failures: int, dice: float) -> float:
    """Return how long to wait after so many failures in a row: anything up to a limit that doubles from 1 s to 60 s.

    dice: uniform in [0, 1). Source: Marc Brooker, "Exponential Backoff And Jitter", 2015: of the ways to spread clients
    this one makes the fewest calls.
    """
    return max(LEAST_S, dice * min(LAST_LIMIT_S, FIRST_LIMIT_S * 2.0 ** min(failures, 10)))


def failures_after(failures: int, lasted_s: float | None) -> int:
    """Return how many tries failed in a row, now that a connection ended (None: that one did not come about)."""
    return 0 if lasted_s is not None and lasted_s >= STEADY_S else failures + 1
