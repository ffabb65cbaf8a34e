"""One device over time, from its own windows. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..client.telemetry import DeviceModel, DeviceSeries, DeviceTelemetry, GroupView, Mark, Run, Series, Span
from ..store.device_series import Facts, Ran
from ..telemetry.cells import UNNAMED, Energy
from ..telemetry.distinct import Seen, mark_of
from ..telemetry.packed import Pile
from .telemetry_groups import energies, percentiles

POINTS = 288
"""Five minutes each over a day."""
MINUTE_S = 60


def device_telemetry(
    name: str,
    region: str | None,
    now: float,
    last_s: float,
    models: Sequence[Ran],
    facts: Sequence[Facts],
    marks: Iterable[Any],
) -> DeviceTelemetry:
    """Return everything that the device's page shows; rows are oldest first."""
    step_s = max(MINUTE_S, math.ceil(last_s / POINTS / MINUTE_S) * MINUTE_S)
    by_model: dict[str, list[Ran]] = {}
    for row in models:
        by_model.setdefault(row.counts.model, []).append(row)
    return DeviceTelemetry(
        device=name,
        region=region,
        span=Span(now_s=now, from_s=_step(now - last_s, step_s), to_s=_step(now, step_s) + step_s, step_s=step_s),
        models=[_model(name, model, rows, step_s) for model, rows in sorted(by_model.items())],
        series=_series(facts, step_s),
        energy=energies(_energy(facts, models)),
        marks=[Mark(**row._mapping) for row in marks],
    )


def _step(at_s: float, step_s: int) -> int:
    return int(at_s // step_s) * step_s


def _model(device: str, model: str, rows: Sequence[Ran], step_s: int) -> DeviceModel:
    runs: dict[tuple[str, str], list[float]] = {}
    points: dict[tuple[int, str, str], list[Ran]] = {}
    whole = Pile()
    for row in rows:
        own = (row.counts.release, row.counts.variant)
        runs.setdefault(own, [row.placed_s, row.placed_s])[1] = row.placed_s
        points.setdefault((_step(row.placed_s, step_s), *own), []).append(row)
    series = Series(at_s=[], requests=[], errors=[], p50_s=[], p95_s=[], p99_s=[])
    numbers = {own: number for number, own in enumerate(runs)}
    memory: list[int | None] = []
    run: list[int] = []
    for (at_s, release, variant), here in points.items():
        pile = Pile()
        for row in here:
            pile.add_packed(row.counts.latency)
        whole.add_counts(pile.offset, pile.counts, pile.zero)
        p50, p95, p99 = percentiles(pile)
        series.at_s.append(at_s)
        series.requests.append(sum(row.counts.requests for row in here))
        series.errors.append(sum(row.counts.errors for row in here))
        series.p50_s.append(p50)
        series.p95_s.append(p95)
        series.p99_s.append(p99)
        memory.append(max((n for row in here if (n := row.counts.memory_bytes) is not None), default=None))
        run.append(numbers[release, variant])
    p50, p95, p99 = percentiles(whole)
    measured = [n for row in rows if (n := row.counts.memory_bytes) is not None]
    seen = Seen()
    seen.add(mark_of(device))
    return DeviceModel(
        whole=GroupView(
            model=model,
            devices=seen.estimate(),
            windows=len(rows),
            requests=sum(series.requests),
            errors=sum(series.errors),
            p50_s=p50,
            p95_s=p95,
            p99_s=p99,
            memory_mean_bytes=sum(measured) / len(measured) if measured else None,
            memory_max_bytes=max(measured, default=None),
        ),
        series=series,
        memory_bytes=memory,
        run=run,
        runs=[
            Run(release=release, variant=variant, from_s=from_s, to_s=to_s)
            for (release, variant), (from_s, to_s) in runs.items()
        ],
    )


def _series(rows: Sequence[Facts], step_s: int) -> DeviceSeries:
    steps: dict[int, list[Facts]] = {}
    for row in rows:
        steps.setdefault(_step(row.placed_s, step_s), []).append(row)
    each = [[row.facts for row in here] for here in steps.values()]
    return DeviceSeries(
        at_s=list(steps),
        temperature_c=[max(_of(here, "temperature_c"), default=None) for here in each],
        battery_percent=[_last(here, "battery_percent") for here in each],
        battery_charging=[_last(here, "battery_charging") for here in each],
        cpu_percent=[_mean(here, "cpu_percent") for here in each],
        memory_available_bytes=[min(_of(here, "memory_available_bytes"), default=None) for here in each],
        storage_free_bytes=[_last(here, "storage_free_bytes") for here in each],
        agent_memory_bytes=[_last(here, "agent_memory_bytes") for here in each],
        power_w=[_mean(here, "power_w") for here in each],
        power_source=[_source(here) for here in each],
        throttled=[_reasons(here) for here in each],
    )


def _of(rows: Iterable[Any], name: str) -> list[Any]:
    return [value for row in rows if (value := getattr(row, name)) is not None]


def _last(rows: Iterable[Any], name: str) -> Any:
    found = _of(rows, name)
    return found[-1] if found else None


def _mean(rows: Iterable[Any], name: str) -> float | None:
    found = _of(rows, name)
    return sum(found) / len(found) if found else None


def _source(rows: Iterable[Any]) -> str | None:
    found = [getattr(row, "power_source", None) or UNNAMED for row in rows if row.power_w is not None]
    return found[-1] if found else None


def _reasons(rows: Iterable[Any]) -> list[str] | None:
    found = _of(rows, "throttled")
    return sorted({reason for reasons in found for reason in reasons}) if found else None


def _energy(facts: Iterable[Facts], models: Iterable[Ran]) -> dict[str, Energy]:
    """By source; requests of the windows in which it was measured only."""
    requests: dict[float, int] = {}
    for row in models:
        requests[row.placed_s] = requests.get(row.placed_s, 0) + row.counts.requests
    found: dict[str, Energy] = {}
    for one in facts:
        if one.facts.power_w is not None:
            source = getattr(one.facts, "power_source", None) or UNNAMED
            spent = Energy(one.facts.power_w * one.seconds, one.seconds, requests.get(one.placed_s, 0))
            found.setdefault(source, Energy()).merge(spent)
    return found
