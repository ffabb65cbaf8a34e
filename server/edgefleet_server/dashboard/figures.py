"""From what telemetry answers to charts: which lines, which units, which marks. Pure.

The shapes are those of the views of telemetry: series by column, percentiles of merged histograms.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from . import words
from .charts import Chart, Line, Mark, draw

MARKS = ("activated", "fell-back", "governed")
"""Kinds of events by which another variant serves from then on."""


def latency(model: Any, span: Any, marks: Sequence[Mark] = (), budget_s: float | None = None) -> Chart | None:
    """Return a model's percentiles over time."""
    series, runs = model.series, getattr(model, "runs", None)
    variants = [f"{runs[one].release} {runs[one].variant}" for one in model.run] if runs else None
    return draw(
        f"Latency of {model.whole.model}",
        series.at_s,
        [Line("p50", "p50", series.p50_s), Line("p95", "p95", series.p95_s), Line("p99", "p99", series.p99_s)],
        words.milliseconds,
        from_s=span.from_s,
        to_s=span.to_s,
        step_s=span.step_s,
        marks=marks,
        limit=None if budget_s is None else (budget_s, f"budget {words.milliseconds(budget_s)}"),
        extra=("Ran", variants) if variants else ("Requests", [words.count(value) for value in series.requests]),
    )


def requests(model: Any, span: Any) -> Chart | None:
    """Return a model's requests and errors over time, by minute."""
    minutes = span.step_s / 60
    series = model.series
    return draw(
        f"Requests to {model.whole.model} a minute",
        series.at_s,
        [
            Line("requests", "p50", [value / minutes for value in series.requests]),
            Line("errors", "p99", [value / minutes for value in series.errors]),
        ],
        lambda value: words.count(value) if value >= 10 or not value else f"{value:.2g}",
        from_s=span.from_s,
        to_s=span.to_s,
        step_s=span.step_s,
    )


def of_group(telemetry: Any, budgets: dict[str, float | None] | None = None) -> list[Chart]:
    """Return the charts of a fleet or a region: each model's latency, then what the boards were like."""
    span, boards = telemetry.span, telemetry.board_series
    charts = [latency(model, span, budget_s=(budgets or {}).get(model.whole.model)) for model in telemetry.models]
    charts += [
        _plain("Temperature", boards.at_s, span, words.celsius, [
            Line("mean", "p50", boards.temperature_mean_c), Line("highest", "p95", boards.temperature_max_c)], least=None),
        _plain("Battery", boards.at_s, span, words.percent, [
            Line("mean", "p50", boards.battery_mean_percent), Line("lowest", "p95", boards.battery_least_percent)]),
        _plain("Windows with a clock that was held back", boards.at_s, span, words.share, [
            Line("throttled", "p50", boards.throttled_share)]),
    ]  # fmt: skip
    return [chart for chart in charts if chart is not None]


def of_two(compared: Any) -> list[Chart]:
    """Return two variants in one chart for each percentile, by the steps of both."""
    sides = [side for side in (compared.a, compared.b) if side is not None]
    at_s = sorted({moment for side in sides for moment in side.series.at_s})
    charts = []
    for name in ("p50", "p95", "p99"):
        lines = []
        for side, look in zip(sides, ("p50", "p95"), strict=False):
            known = dict(zip(side.series.at_s, getattr(side.series, f"{name}_s"), strict=True))
            values = [known.get(moment) for moment in at_s]
            lines.append(Line(f"{side.whole.release} {side.whole.variant}", look, values))
        charts.append(_plain(f"{name} of both", at_s, compared.span, words.milliseconds, lines))
    return [chart for chart in charts if chart is not None]


def of_device(telemetry: Any, marks: Sequence[Mark], budgets: dict[str, float | None]) -> list[Chart]:
    """Return the charts of one device. A battery that is none has no chart: the page says mains."""
    span, own = telemetry.span, telemetry.series
    charts: list[Chart | None] = []
    for model in telemetry.models:
        name = model.whole.model
        charts.append(latency(model, span, marks, budgets.get(name)))
        memory = [Line("worker", "p50", model.memory_bytes)]
        charts.append(_plain(f"Memory of {name}", model.series.at_s, span, words.megabytes, memory, marks))
    throttled = [None if value is None else float(bool(value)) for value in own.throttled]
    reasons = ["–" if value is None else ", ".join(value) or "no" for value in own.throttled]
    charts += [
        _plain("Memory that is free", own.at_s, span, words.megabytes, [
            Line("available", "p50", own.memory_available_bytes)], marks),
        _plain("Temperature", own.at_s, span, words.celsius, [Line("highest", "p50", own.temperature_c)], marks, least=None),
        _plain("Battery", own.at_s, span, words.percent, [Line("charge", "p50", own.battery_percent)], marks),
        _plain("Power", own.at_s, span, words.watts, [Line("mean", "p50", own.power_w)], marks, extra=(
            "Source", [value or "–" for value in own.power_source])),
        _plain("Clock held back", own.at_s, span, lambda value: "yes" if value else "no", [
            Line("throttled", "p50", throttled)], marks, extra=("Why", reasons), step=1.0),
        _plain("Processor", own.at_s, span, words.percent, [Line("mean", "p50", own.cpu_percent)], marks),
    ]  # fmt: skip
    return [chart for chart in charts if chart is not None]


def update_marks(rows: Iterable[Any]) -> list[Mark]:
    """Return what counts as an update among what happened: a release took over, or another came back."""
    found = []
    for row in rows:
        if row.kind in MARKS:
            name = f"{row.release} {row.variant}" if row.variant else str(row.release)
            found.append(Mark(row.at_s, name if row.kind == "activated" else f"{row.kind}: {name}"))
    return found


def _plain(
    title: str,
    at_s: Sequence[float],
    span: Any,
    form: Any,
    lines: Sequence[Line],
    marks: Sequence[Mark] = (),
    *,
    least: float | None = 0.0,
    extra: tuple[str, Sequence[str]] | None = None,
    step: float | None = None,
) -> Chart | None:
    return draw(
        title, at_s, lines, form,
        from_s=span.from_s, to_s=span.to_s, step_s=span.step_s, marks=marks, least=least, extra=extra,
        step=step,
    )  # fmt: skip
