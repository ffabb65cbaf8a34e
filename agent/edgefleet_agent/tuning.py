"""How a session of a runtime is set up, which ways are worth a try, and which of those tried is the best. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

CLEARLY = 1.10
"""A setting that differs from the plain one must be so many times better: less is the noise of a short measurement."""
THREADS_CLEARLY = 1.25
"""More threads take cores from the application, and must be worth it."""
SPINNING_CLEARLY = 1.5
"""Threads that spin between requests keep a core busy and a battery draining: only where it wins by far."""
NOISE_BYTES = 2_000_000
AS_FAST = 1.10
"""Within this of the fastest, the one with less memory is taken."""


@dataclass(frozen=True)
class Tuning:
    """How a session is set up."""

    threads: int = 1
    """Of one inference."""
    spinning: bool = False
    """Whether threads wait for work by spinning."""
    arena: bool = True
    """Whether memory of one inference is kept, in its pattern, for the next."""

    def __str__(self) -> str:
        words = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return words + (", spinning" if self.spinning else "") + ("" if self.arena else ", no arena")


@dataclass(frozen=True)
class Tune:
    """What a trial may try, and what for."""

    most_threads: int = 1
    objective: str = "accuracy"


@dataclass(frozen=True)
class Tried:
    """What one way of setting up was measured to need."""

    tuning: Tuning
    latency_s: float
    cpu_s: float
    """Processor time of one inference, over all threads: the stand-in for energy."""
    memory_bytes: int | None = None
    """Of its session: what the process grew by from before it was opened until it had run."""


def candidates(plain: Tuning, tune: Tune) -> tuple[Tuning, ...]:
    """Return the few ways worth a try beside `plain`, the most promising first."""
    most, rows = max(1, tune.most_threads), list[Tuning]()
    if tune.objective in ("memory", "download"):
        rows.append(Tuning(plain.threads, plain.spinning, arena=False))
    if most > 1:
        rows += [Tuning(most), *([Tuning(most // 2)] if most >= 4 else []), Tuning(most, spinning=True)]
    rows.append(Tuning(plain.threads, plain.spinning, arena=False))
    return tuple(row for row in dict.fromkeys(rows) if row != plain)


def best(plain: Tried, others: Sequence[Tried], objective: str) -> tuple[Tried, str]:
    """Return the way to serve with, and why. `plain` stays unless another wins clearly under the policy's objective."""
    fair = [row for row in others if _worth(row, plain, objective)]
    if objective == "memory":
        fair = [row for row in fair if _smaller(row, plain) and row.latency_s <= plain.latency_s * 1.5]
        winner = min((plain, *fair), key=lambda row: (_memory(row), row.latency_s))
        what = f"{_memory(winner) / 1e6:.0f} MB" if winner.memory_bytes is not None else "no memory measured"
    elif objective == "energy":
        winner = _least([plain, *fair], [row.cpu_s for row in (plain, *fair)])
        what = f"{winner.cpu_s * 1e3:.2f} ms of processor time"
    else:
        winner = _least([plain, *fair], [row.latency_s for row in (plain, *fair)])
        what = f"{winner.latency_s * 1e3:.2f} ms"
    if winner is plain:
        return plain, f"{plain.tuning}: {what}, and none of {len(others)} others was clearly better"
    return winner, f"{winner.tuning}: {what} against {plain.latency_s * 1e3:.2f} ms with {plain.tuning}"


def _worth(row: Tried, plain: Tried, objective: str) -> bool:
    if objective == "memory":
        return not row.tuning.spinning and row.tuning.threads == plain.tuning.threads
    better = plain.cpu_s / max(row.cpu_s, 1e-9) if objective == "energy" else plain.latency_s / max(row.latency_s, 1e-9)
    if row.tuning.spinning:
        return better >= SPINNING_CLEARLY
    # Without an arena, no faster: that may still be the smaller one, which the tie-break takes.
    if row.tuning.threads == plain.tuning.threads and not row.tuning.arena:
        return better >= CLEARLY or (better >= 1 / AS_FAST and _smaller(row, plain))
    return better >= (THREADS_CLEARLY if row.tuning.threads > plain.tuning.threads else CLEARLY)


def _smaller(row: Tried, plain: Tried) -> bool:
    """By a tenth and by a few pages more than a measurement's noise, and where it was measured."""
    if row.memory_bytes is None or plain.memory_bytes is None:
        return False
    return row.memory_bytes * 1.1 < plain.memory_bytes and row.memory_bytes + NOISE_BYTES < plain.memory_bytes


def _memory(row: Tried) -> int:
    return row.memory_bytes if row.memory_bytes is not None else 2**60


def _least(rows: Sequence[Tried], costs: Iterable[float]) -> Tried:
    """Return the row with the least cost; of those within a tenth of it, the one with the least memory."""
    priced = list(zip(costs, rows, strict=True))
    least = min(cost for cost, _ in priced)
    near = [row for cost, row in priced if cost <= least * AS_FAST]
    # A row without a measured memory is neither smaller nor larger: the cost decides.
    if any(row.memory_bytes is None for row in near):
        return min(priced, key=lambda pair: pair[0])[1]
    return min(near, key=lambda row: (_memory(row) // NOISE_BYTES, row.latency_s))
