"""Choosing the variant: hard constraints first, then the policy's objective over those that are left.

The device obeys this function, and the server's plan shows it, so both print the same table. It reads nothing but its
arguments.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from .hardware import Hardware
from .manifest import Release, Variant
from .rollout import Objective, Policy

Source = Literal["measured here", "measured on its class", "predicted", "unknown"]

MEMORY_SHARE = 0.6
"""Share of a device's memory that a worker may claim: the rest is the system's and the application's."""


@dataclass(frozen=True)
class Latency:
    """Seconds for one inference, and where the number comes from."""

    p50_s: float | None
    source: Source


@dataclass(frozen=True)
class Row:
    """What became of one variant. `reason` says why in words, also for the one that is taken."""

    variant: str
    verdict: Literal["taken", "fits", "excluded"]
    reason: str
    accuracy: float
    latency: Latency
    memory_bytes: int
    wire_bytes: int


@dataclass(frozen=True)
class Choice:
    """The whole table, best first, and the variant that is taken, if any fits."""

    taken: Variant | None
    table: tuple[Row, ...]
    objective: Objective

    @property
    def why(self) -> str:
        """Why the taken variant was taken, or why none fits."""
        if self.taken is None:
            return "; ".join(f"{row.variant}: {row.reason}" for row in self.table)
        return next(row.reason for row in self.table if row.verdict == "taken")


def choose(
    release: Release,
    hardware: Hardware,
    policy: Policy,
    *,
    measured: Mapping[str, float] | None = None,
    failed: Mapping[str, str] | None = None,
) -> Choice:
    """Return which variant of `release` this hardware should run under `policy`, and what became of each.

    measured: p50 in seconds by variant, from trials on this very device.
    failed: reason by variant, of those that failed here and must not be tried again.
    """
    objective = policy.objective_for(hardware.hardware_class)
    latencies = estimate(release, hardware, measured or {})
    fitting: list[Variant] = []
    excluded: list[Row] = []
    for variant in release.variants:
        latency = latencies[variant.name]
        reason = why_not(release, variant, hardware, policy, latency, (failed or {}).get(variant.name))
        if reason is None:
            fitting.append(variant)
        else:
            excluded.append(_row(release, variant, "excluded", reason, latency))
    fitting.sort(key=lambda variant: _rank(release, variant, objective, latencies[variant.name]))
    rows = []
    for place, variant in enumerate(fitting):
        if place == 0:
            reason = _why_taken(objective, len(fitting))
        else:
            reason = _why_lost(release, variant, fitting[0], objective, latencies)
        rows.append(_row(release, variant, "fits" if place else "taken", reason, latencies[variant.name]))
    return Choice(fitting[0] if fitting else None, (*rows, *excluded), objective)


def estimate(release: Release, hardware: Hardware, measured: Mapping[str, float]) -> dict[str, Latency]:
    """Return the latency of each variant on this hardware, the best source first.

    What was measured here over what its class was thought to need scales the guesses for the variants that were not
    measured: one real number is never set against another's guess unscaled.
    """
    rows = {variant.name: variant.latency_on(hardware.hardware_class) for variant in release.variants}
    ratios = [
        measured[name] / row.p50_s
        for name, row in rows.items()
        if row is not None and name in measured and row.p50_s > 0
    ]
    scale = sorted(ratios)[len(ratios) // 2] if ratios else 1.0
    result: dict[str, Latency] = {}
    for name, row in rows.items():
        if name in measured:
            result[name] = Latency(measured[name], "measured here")
        elif row is None:
            result[name] = Latency(None, "unknown")
        else:
            result[name] = Latency(row.p50_s * scale, "measured on its class" if row.how == "measured" else "predicted")
    return result


def why_not(
    release: Release, variant: Variant, hardware: Hardware, policy: Policy, latency: Latency, failed: str | None
) -> str | None:
    """Return the first hard constraint that keeps `variant` from this hardware, in words, or None when it fits."""
    needs = variant.requires
    if failed is not None:
        return f"failed here: {failed}"
    if needs.arch and hardware.arch not in needs.arch:
        return f"made for {', '.join(needs.arch)} and this is {hardware.arch}"
    if missing := [feature for feature in needs.features if feature not in hardware.features]:
        return f"needs {', '.join(missing)}, which this CPU lacks"
    runtime = hardware.runtime(variant.runtime)
    if runtime is None:
        return f"needs the runtime {variant.runtime}, which is not installed"
    if needs.provider not in runtime.providers:
        return f"needs {needs.provider}; {variant.runtime} here has {', '.join(runtime.providers)}"
    if _numbers(runtime.version) < _numbers(needs.min_runtime):
        return f"needs {variant.runtime} {needs.min_runtime} and this is {runtime.version}"
    if needs.ir > runtime.max_ir or needs.opset > runtime.max_opset:
        return (
            f"has IR {needs.ir} and opset {needs.opset}; {variant.runtime} {runtime.version} opens IR up to "
            f"{runtime.max_ir} and opset up to {runtime.max_opset}"
        )
    if hardware.memory_bytes and needs.memory_bytes > hardware.memory_bytes * MEMORY_SHARE:
        return f"needs {_mb(needs.memory_bytes)} of memory, more than {MEMORY_SHARE:.0%} of the {_mb(hardware.memory_bytes)} here"
    if hardware.storage_bytes and variant.bytes * 2 > hardware.storage_bytes:
        return f"needs {_mb(variant.bytes * 2)} of storage and the disk has {_mb(hardware.storage_bytes)}"
    if policy.memory_budget_bytes is not None and needs.memory_bytes > policy.memory_budget_bytes:
        return f"needs {_mb(needs.memory_bytes)} of memory and the region allows {_mb(policy.memory_budget_bytes)}"
    wire = release.wire_bytes(variant)
    if policy.download_budget_bytes is not None and wire > policy.download_budget_bytes:
        return f"is {_mb(wire)} to download and the region allows {_mb(policy.download_budget_bytes)}"
    if policy.min_accuracy is not None and variant.accuracy.value < policy.min_accuracy:
        return f"has {variant.accuracy.metric} {variant.accuracy.value:.4f} and the region asks for {policy.min_accuracy:.4f}"
    budget = policy.latency_budget_s
    if budget is not None and latency.p50_s is not None and latency.p50_s > budget:
        return f"takes {_ms(latency.p50_s)} ({latency.source}) and the region allows {_ms(budget)}"
    return None


def _rank(release: Release, variant: Variant, objective: Objective, latency: Latency) -> tuple[object, ...]:
    """Smaller is better. After the objective: accuracy, latency, bytes, and the name, so that a tie has one end."""
    seconds = float("inf") if latency.p50_s is None else latency.p50_s
    accuracy, wire = -variant.accuracy.value, release.wire_bytes(variant)
    first: dict[Objective, Callable[[], float]] = {
        "accuracy": lambda: accuracy,
        "latency": lambda: seconds,
        # Until energy is measured per class, time is its stand-in: on one device, power is nearly constant under load.
        "energy": lambda: seconds,
        "memory": lambda: variant.requires.memory_bytes,
        "download": lambda: wire,
    }
    return (first[objective](), accuracy, seconds, wire, variant.name)


def _why_taken(objective: Objective, fitting: int) -> str:
    words = {
        "accuracy": "the most accurate",
        "latency": "the fastest",
        "energy": "the fastest, which stands for the least energy until that is measured",
        "memory": "the one with the least memory",
        "download": "the smallest to download",
    }
    return f"{words[objective]} of the {fitting} that fit" if fitting > 1 else "the only one that fits"


def _why_lost(
    release: Release, variant: Variant, best: Variant, objective: Objective, latencies: Mapping[str, Latency]
) -> str:
    mine, its = latencies[variant.name], latencies[best.name]
    if objective == "accuracy" and variant.accuracy.value != best.accuracy.value:
        return (
            f"{variant.accuracy.metric} {variant.accuracy.value:.4f} against {best.accuracy.value:.4f} of {best.name}"
        )
    if objective in ("latency", "energy") and its.p50_s is not None:
        if mine.p50_s is None:
            return f"its latency here is not known and that of {best.name} is"
        if mine.p50_s != its.p50_s:
            return f"{_ms(mine.p50_s)} ({mine.source}) against {_ms(its.p50_s)} of {best.name}"
    if objective == "memory" and variant.requires.memory_bytes != best.requires.memory_bytes:
        return (
            f"{_mb(variant.requires.memory_bytes)} of memory against {_mb(best.requires.memory_bytes)} of {best.name}"
        )
    if objective == "download" and release.wire_bytes(variant) != release.wire_bytes(best):
        return f"{_mb(release.wire_bytes(variant))} to download against {_mb(release.wire_bytes(best))} of {best.name}"
    if objective == "accuracy":
        return f"as accurate as {best.name}, and slower, larger or later by name"
    if variant.accuracy.value != best.accuracy.value:
        return f"equal to {best.name} by {objective}, and less accurate"
    return f"equal to {best.name} by {objective} and accuracy, and slower, larger or later by name"


def _row(
    release: Release, variant: Variant, verdict: Literal["taken", "fits", "excluded"], reason: str, latency: Latency
) -> Row:
    return Row(
        variant=variant.name,
        verdict=verdict,
        reason=reason,
        accuracy=variant.accuracy.value,
        latency=latency,
        memory_bytes=variant.requires.memory_bytes,
        wire_bytes=release.wire_bytes(variant),
    )


def _numbers(version: str) -> tuple[int, ...]:
    """`1.23.2` or `1.20.0+cu124` as three numbers; a part that is none counts as 0, so an odd version loses, not crashes."""
    parts = [*version.split("+")[0].split("."), "0", "0", "0"][:3]
    return tuple(int(part) if part.isascii() and part.isdigit() and len(part) < 10 else 0 for part in parts)


def _mb(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size < 10e6 else f"{size / 1e6:.0f} MB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"
