"""Rows of roll-ups, added up and shown. Pure: nothing here looks at a database or a clock."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..client.telemetry import (
    Boards,
    BoardSeries,
    DriftView,
    EnergyView,
    GroupView,
    Measure,
    ModelView,
    Percentile,
    Series,
    Span,
)
from ..store.rollup_reads import Stretch
from ..telemetry.cells import DeviceFacts, Energy, Spread, facts_of
from ..telemetry.distinct import count_all
from ..telemetry.drift import Drift
from ..telemetry.packed import Pile

Row = Any
"""Of `model_rollups` or `device_rollups`."""
QUANTILES = (0.5, 0.95, 0.99)
NAMES = ("region", "model", "release", "variant", "hardware_class")


def span_view(now: float, span: Stretch) -> Span:
    """Return the stretch of time as it is shown."""
    return Span(now_s=now, from_s=span.from_s, to_s=span.to_s, step_s=span.step_s)


def percentiles(pile: Pile) -> tuple[Percentile, Percentile, Percentile]:
    """Return p50, p95 and p99, to six digits: the histogram knows two."""
    p50, p95, p99 = (None if value is None else float(f"{value:.6g}") for value in pile.quantiles(*QUANTILES))
    return p50, p95, p99


def latency_of(rows: Iterable[Row]) -> Pile:
    """Return the merged histogram of latencies."""
    pile = Pile()
    for row in rows:
        pile.add_packed(row.latency)
    return pile


def confidence_of(rows: Iterable[Row]) -> Pile:
    """Return the merged histogram of confidence."""
    pile = Pile()
    for row in rows:
        pile.add_packed(row.confidence)
    return pile


def group(rows: Sequence[Row], names: Sequence[str] = NAMES, drift: DriftView | None = None) -> GroupView:
    """Return one group of everything in `rows`, at least one. names: what all of them have in common."""
    p50, p95, p99 = percentiles(latency_of(rows))
    measured = sum(row.memory_windows for row in rows)
    first = rows[0]
    return GroupView(
        model=first.model,
        **{name: getattr(first, name) for name in names if name != "model"},
        devices=count_all(row.seen for row in rows),
        windows=sum(row.windows for row in rows),
        requests=sum(row.requests for row in rows),
        errors=sum(row.errors for row in rows),
        p50_s=p50,
        p95_s=p95,
        p99_s=p99,
        memory_mean_bytes=sum(row.memory_sum_bytes for row in rows) / measured if measured else None,
        memory_max_bytes=max((row.memory_max_bytes or 0 for row in rows), default=0) if measured else None,
        drift=drift,
    )


def by(rows: Iterable[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    """Return rows by key, the key with the most requests first."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return dict(sorted(found.items(), key=lambda pair: (-sum(row.requests for row in pair[1]), str(pair[0]))))


def series(rows: Iterable[Row]) -> Series:
    """Return one model over time."""
    steps: dict[int, list[Row]] = {}
    for row in rows:
        steps.setdefault(row.start_s, []).append(row)
    ordered = sorted(steps.items())
    points = [percentiles(latency_of(here)) for _, here in ordered]
    return Series(
        at_s=[at_s for at_s, _ in ordered],
        requests=[sum(row.requests for row in here) for _, here in ordered],
        errors=[sum(row.errors for row in here) for _, here in ordered],
        p50_s=[point[0] for point in points],
        p95_s=[point[1] for point in points],
        p99_s=[point[2] for point in points],
    )


def model_view(whole: Sequence[Row], steps: Iterable[Row], names: Sequence[str]) -> ModelView:
    """Return the whole and the steps of one model or variant."""
    return ModelView(whole=group(whole, names), series=series(steps))


def boards(whole: Sequence[Row], steps: Iterable[Row]) -> tuple[Boards, BoardSeries]:
    """Return what devices were like, in the whole and over time."""
    every, by_step = DeviceFacts(), dict[int, DeviceFacts]()
    for row in whole:
        every.merge(facts_of(row.facts))
    for row in steps:
        found = facts_of(row.facts)
        if row.start_s in by_step:
            by_step[row.start_s].merge(found)
        else:
            by_step[row.start_s] = found
    return _boards(whole, every), _board_series(by_step)


def _boards(rows: Sequence[Row], whole: DeviceFacts) -> Boards:
    told = whole.throttle_told
    return Boards(
        devices=count_all(row.seen for row in rows),
        windows=sum(row.windows for row in rows),
        temperature_c=measure(whole.temperature_c),
        cpu_percent=measure(whole.cpu_percent),
        battery_percent=measure(whole.battery_percent),
        power_w=measure(whole.power_w),
        memory_available_bytes=measure(whole.memory_available_bytes),
        storage_free_bytes=measure(whole.storage_free_bytes),
        agent_memory_bytes=measure(whole.agent_memory_bytes),
        throttled_share=whole.throttled / told if told else None,
        throttled_reasons={name: count / told for name, count in sorted(whole.reasons.items())} if told else {},
        energy=energies(whole.energy),
    )


def _board_series(steps: dict[int, DeviceFacts]) -> BoardSeries:
    ordered = [facts for _, facts in sorted(steps.items())]
    return BoardSeries(
        at_s=sorted(steps),
        temperature_mean_c=[facts.temperature_c.mean for facts in ordered],
        temperature_max_c=[facts.temperature_c.most if facts.temperature_c.n else None for facts in ordered],
        battery_mean_percent=[facts.battery_percent.mean for facts in ordered],
        battery_least_percent=[facts.battery_percent.least if facts.battery_percent.n else None for facts in ordered],
        throttled_share=[facts.throttled / facts.throttle_told if facts.throttle_told else None for facts in ordered],
    )


def measure(spread: Spread) -> Measure | None:
    """Return a measurement as it is shown, None when nobody took it."""
    if spread.mean is None:
        return None
    return Measure(mean=spread.mean, least=spread.least, most=spread.most, windows=spread.n)


def energies(found: dict[str, Energy]) -> list[EnergyView]:
    """Return energy by source, each by itself."""
    return [
        EnergyView(
            source=source,
            joules=one.joules,
            seconds=one.seconds,
            requests=one.requests,
            watts=one.joules / one.seconds if one.seconds else 0.0,
            joules_per_request=one.joules / one.requests if one.requests else None,
        )
        for source, one in sorted(found.items())
    ]


def drift_view(found: Drift, reference_s: int | None = None) -> DriftView:
    """Return drift as it is shown."""
    return DriftView(
        psi=found.psi,
        limit=found.floor,
        n=found.n,
        reference_n=found.reference_n,
        reference_s=reference_s,
        alarm=found.alarm,
    )
