"""Fifteen minutes of one device, merged from its windows in the form of a window, so that what reads windows reads them too. Pure.

Histograms merge to the histogram of all values, counts and joules to their sums. Of what changes all the time the mean by time is
kept (processor, power), of temperature the highest, of memory the least, of battery and storage the last: what the device's page shows.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from edgefleet_protocol.sketch import MAX_COUNT
from edgefleet_protocol.telemetry import DeviceWindow

from .packed import Pile
from .stored import Counts, StoredFacts

QUARTER_S = 900
MAX_WORDS = 16


class Stretch(NamedTuple):
    """What a device measured in some time: a window, or more of them."""

    placed_s: float
    seconds: float
    windows: int
    facts: DeviceWindow
    models: list[Counts]


def by_quarter(rows: Iterable[Stretch]) -> dict[int, Stretch]:
    """Return what these merge to, by the start of their quarter. rows: oldest first."""
    found: dict[int, list[Stretch]] = {}
    for row in rows:
        found.setdefault(int(row.placed_s // QUARTER_S) * QUARTER_S, []).append(row)
    return {start_s: merged(start_s, some) for start_s, some in found.items()}


def merged(start_s: int, rows: Sequence[Stretch]) -> Stretch:
    """Return the whole of `rows`, oldest first."""
    return Stretch(
        float(start_s),
        sum(row.seconds for row in rows),
        sum(row.windows for row in rows),
        _facts(rows),
        _models([counts for row in rows for counts in row.models]),
    )


def _facts(rows: Sequence[Stretch]) -> StoredFacts:
    def every(name: str) -> list[Any]:
        return [value for row in rows if (value := getattr(row.facts, name)) is not None]

    def last(name: str) -> Any:
        return found[-1] if (found := every(name)) else None

    def mean(name: str) -> float | None:
        found = [(row.seconds, value) for row in rows if (value := getattr(row.facts, name)) is not None]
        whole = sum(seconds for seconds, _ in found)
        return sum(seconds * value for seconds, value in found) / whole if whole else None

    def total(name: str) -> Any:
        return sum(found) if (found := every(name)) else None

    throttled_s: dict[str, float] = {}
    for reasons in every("throttled_s"):
        for reason, seconds in reasons.items():
            if reason in throttled_s or len(throttled_s) < MAX_WORDS:
                throttled_s[reason] = throttled_s.get(reason, 0.0) + seconds
    held = every("throttled")
    written = total("storage_written_bytes")
    return StoredFacts(
        cpu_percent=mean("cpu_percent"),
        memory_available_bytes=min(every("memory_available_bytes"), default=None),
        storage_free_bytes=last("storage_free_bytes"),
        temperature_c=max(every("temperature_c"), default=None),
        throttled=tuple(sorted({reason for some in held for reason in some})[:MAX_WORDS]) if held else None,
        power_w=mean("power_w"),
        battery_percent=last("battery_percent"),
        battery_charging=last("battery_charging"),
        agent_memory_bytes=last("agent_memory_bytes"),
        throttled_s=throttled_s if every("throttled_s") else None,
        power_source=last("power_source"),
        energy_j=total("energy_j"),
        energy_s=total("energy_s"),
        idle_w=last("idle_w"),
        storage_written_bytes=None if written is None else min(written, MAX_COUNT),
        storage_wear_percent=last("storage_wear_percent"),
    )


def _models(rows: Iterable[Counts]) -> list[Counts]:
    found: dict[tuple[str, str, str], list[Counts]] = {}
    for row in rows:
        found.setdefault((row.model, row.release, row.variant), []).append(row)
    return [Counts(*names, *_sums(some)) for names, some in found.items()]


def _sums(rows: Sequence[Counts]) -> tuple[Any, ...]:
    latency, confidence = Pile(), Pile()
    for row in rows:
        latency.add_packed(row.latency)
        confidence.add_packed(row.confidence)
    memory = [row.memory_bytes for row in rows if row.memory_bytes is not None]
    return (
        min(sum(row.requests for row in rows), MAX_COUNT),
        min(sum(row.errors for row in rows), MAX_COUNT),
        max(memory, default=None),
        latency.packed(),
        confidence.packed() if confidence else None,
    )
