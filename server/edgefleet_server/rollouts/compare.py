"""Is the model worse than the one before, on the same devices? Three answers, each with its figures. Pure.

A release that keeps every margin is stopped with probability `alpha` at most, over the whole rollout, however often this is
asked: alpha is divided among the things that are looked at, and for each of them half goes to all devices together and half to the
hardware classes by themselves, the j-th class that appears having 1 / (j (j + 1)) of it (Bonferroni with weights that sum to 1).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edgefleet_protocol.rollout import NotWorse

from .agreement import Agreement
from .pairs import Pair
from .sequential import Counts, burstiness, error_evidence, fewer_evidence, interval, needed
from .words import devices_in_words

LEAST_KEPT = 5
"""Devices that kept the model before, from which on they say how much everything changed."""
CLIPPED = 0.05
"""Beyond this rate, or four margins, more errors on one device say nothing more about the model: where one device fails wholly,
probation there takes the release back, and counts it as failed. So one mishap cannot speak for a fleet."""
Result = Literal["worse", "not worse", "too little"]
Metric = Literal["latency", "errors", "memory", "energy", "confidence", "agreement", "agreement live"]
USUAL_SPREAD = 0.04
"""Of differences of log latency from device to device, where fewer than five devices have said: some percent."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at, on all devices or on those of one class."""

    metric: Metric
    hardware_class: str
    """Empty: all of them."""
    result: Result
    devices: int
    """For agreement, golden inputs."""
    figure: str
    """In words: what it is now, within which bounds, and what may be."""


@dataclass(frozen=True)
class Comparison:
    """What the devices that were compared say together."""

    result: Result
    why: str
    findings: tuple[Finding, ...] = ()
    devices: int = 0
    needed: int | None = None
    """About how many devices a verdict takes at the spread that was seen; None: more than can be compared, or not known."""


def compare(
    pairs: Sequence[Pair], rules: NotWorse, agreed: Agreement | None = None, drifts: Sequence[float] = ()
) -> Comparison:
    """Return whether the model is worse, not worse, or whether that cannot be said yet.

    pairs: in the order in which they were compared. agreed: how the signed golden answers of the two releases agree.
    drifts: by how much latency changed meanwhile on devices that kept the model before: what those surely changed by, too, is no fault
    of the new one. It can only keep a release from being stopped.
    """
    metrics = wanted(rules)
    count = len(pairs)
    if not metrics:
        why = "its gate looks at nothing, so nothing speaks for the model or against it"
        return Comparison("too little", why, devices=count)
    # Agreement is a fact of the two releases and no sample: it needs no share of alpha.
    sampled = [metric for metric in metrics if metric != "agreement"]
    share = rules.alpha / max(len(sampled), 1)
    findings: list[Finding] = []
    drift = _drift(drifts, share)
    if "agreement" in metrics:
        findings.append(_agreed(agreed, (rules.agreement_percent or 0.0) / 100))
    for metric in sampled:
        classes = list(dict.fromkeys(row.hardware_class for row in pairs))
        findings.append(_find(metric, "", pairs, rules, share / 2 if len(classes) > 1 else share, drift))
        if len(classes) > 1:
            for place, name in enumerate(classes, 1):
                of_class = [row for row in pairs if row.hardware_class == name]
                findings.append(_find(metric, name, of_class, rules, share / 2 / (place * (place + 1)), drift))
    worse = [
        row
        for row in findings
        if row.result == "worse" and (row.devices >= rules.min_devices or row.metric == "agreement")
    ]
    enough = devices_needed(pairs, rules)
    if worse:
        return Comparison("worse", "; ".join(_words(row) for row in worse), tuple(findings), count, enough)
    whole = [row for row in findings if not row.hardware_class]
    if count >= rules.min_devices and all(row.result == "not worse" for row in whole):
        return Comparison("not worse", "; ".join(_words(row) for row in whole), tuple(findings), count, enough)
    open_ = [row for row in whole if row.result != "not worse"] or whole
    wants = f"; about {enough} are needed" if enough is not None and enough > count else ""
    why = f"{devices_in_words(count)} compared with the model before{wants}: {'; '.join(_words(row) for row in open_)}"
    return Comparison("too little", why, tuple(findings), count, enough)


def wanted(rules: NotWorse) -> tuple[Metric, ...]:
    """Return what the gate looks at."""
    margins: dict[Metric, float | None] = {
        "latency": rules.latency_percent,
        "errors": rules.error_points,
        "memory": rules.memory_percent,
        "energy": rules.energy_percent,
        "confidence": rules.confidence_psi,
        "agreement": rules.agreement_percent,
        "agreement live": rules.agreement_live_percent,
    }
    return tuple(name for name, margin in margins.items() if margin is not None)


def devices_needed(pairs: Sequence[Pair], rules: NotWorse) -> int | None:
    """Return about how many devices it takes to say that latency is not worse, if it did not change; None: too many."""
    if rules.latency_percent is None:
        return rules.min_devices
    share = rules.alpha / len(set(wanted(rules)) - {"agreement"}) / 2
    found = needed(spread_of(pairs), math.log1p(rules.latency_percent / 100), share, rules.max_devices)
    return None if found is None else max(found, rules.min_devices)


def spread_of(pairs: Sequence[Pair]) -> float:
    """Return the standard deviation of the changes of latency from device to device, or what is usual."""
    values = [row.latency for row in pairs if row.latency is not None]
    if len(values) < 5:
        return USUAL_SPREAD
    mean = sum(values) / len(values)
    return max(math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1)), 1e-3)


def _drift(drifts: Sequence[float], alpha: float) -> float:
    """Return by how much latency surely rose on devices that kept the model before; 0 where it may not have."""
    return max(interval(drifts, alpha).low, 0.0) if len(drifts) >= LEAST_KEPT else 0.0


def _find(
    metric: Metric, hardware_class: str, pairs: Sequence[Pair], rules: NotWorse, alpha: float, drift: float
) -> Finding:
    if metric == "errors":
        return _errors(hardware_class, pairs, rules.error_points or 0.0, alpha)
    values, off = _values(metric, pairs)
    found = interval(values, alpha)
    limit = _limit(metric, rules)
    low, high = found.low - off, found.high + off
    result: Result = "too little"
    common = drift if metric == "latency" else 0.0
    if len(values) >= 2 and low > limit + common:
        result = "worse"
    elif len(values) >= 2 and high < limit:
        result = "not worse"
    if not values:
        figure = "no device measured it on both sides" if pairs else "nothing yet"
    else:
        figure = _figure(metric, found.mean, low, high, limit)
        if common:
            figure += f", and {_percent(common)} more because devices that kept the model before changed by that, too"
    return Finding(metric, hardware_class, result, len(values), figure)


def _values(metric: Metric, pairs: Sequence[Pair]) -> tuple[list[float], float]:
    """Return one number for each device that has it, larger is worse, and by how much their mean may be off."""
    if metric == "latency":
        rows = [row for row in pairs if row.latency is not None]
        off = sum(row.rounding for row in rows) / len(rows) if rows else 0.0
        return [row.latency for row in rows if row.latency is not None], off
    name = {"memory": "memory", "energy": "energy", "confidence": "confidence", "agreement live": "apart"}[metric]
    return [value for row in pairs if (value := getattr(row, name)) is not None], 0.0


def _limit(metric: Metric, rules: NotWorse) -> float:
    if metric == "confidence":
        return rules.confidence_psi or 0.0
    if metric == "agreement live":
        return 1 - (rules.agreement_live_percent or 0.0) / 100
    percent = {"latency": rules.latency_percent, "memory": rules.memory_percent, "energy": rules.energy_percent}[metric]
    return math.log1p((percent or 0.0) / 100)


def _figure(metric: Metric, mean: float, low: float, high: float, limit: float) -> str:
    if metric == "confidence":
        return f"shifted by {mean:.2f} (between {_bound(low, '.2f')} and {_bound(high, '.2f')}) where {limit:.2f} may"
    if metric == "agreement live":
        shares = [_share(value) for value in (mean, high, low, limit)]
        return f"{shares[0]} of answers may be as sure as before (between {shares[1]} and {shares[2]}) where {shares[3]} must"
    shown = [_percent(value) for value in (mean, low, high, limit)]
    return f"{shown[0]} (between {shown[1]} and {shown[2]}) where {shown[3]} may"


def _percent(value: float) -> str:
    if not math.isfinite(value) or value > 5:
        return "no bound" if value > 0 else "-100 %"
    return f"{math.expm1(value) * 100:+.1f} %"


def _share(apart: float) -> str:
    return f"{min(max(1 - apart, 0.0), 1.0):.1%}" if math.isfinite(apart) else "no bound"


def _bound(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "no bound"


def _errors(hardware_class: str, pairs: Sequence[Pair], points: float, alpha: float) -> Finding:
    margin = points / 100
    most = max(CLIPPED, 4 * margin)
    counts = [
        (_clipped(row.errors_before, row.requests_before, most), _clipped(row.errors_after, row.requests_after, most))
        for row in pairs
    ]
    against = error_evidence(counts, margin, alpha)
    for_it = fewer_evidence(counts, margin, alpha)
    bar = 1 / (0.8 * alpha)
    result: Result = "worse" if against >= bar else "not worse" if for_it >= bar else "too little"
    before = _rate(sum(row.errors_before for row in pairs), sum(row.requests_before for row in pairs))
    after = _rate(sum(row.errors_after for row in pairs), sum(row.requests_after for row in pairs))
    bursts = burstiness([pair[1] for pair in counts])
    said = f", which come in bursts of {bursts:.1f}" if bursts >= 2 else ""
    figure = f"{after:.2f} % of requests after {before:.2f} % before{said} where {points:+g} points may"
    return Finding("errors", hardware_class, result, len(pairs), figure)


def _rate(errors: int, requests: int) -> float:
    return 100 * errors / requests if requests else 0.0


def _clipped(errors: int, requests: int, most: float) -> Counts:
    return Counts(min(errors, math.ceil(most * requests)), requests)


def _agreed(found: Agreement | None, least: float) -> Finding:
    if found is None or found.share is None:
        why = found.why if found is not None else "nobody asked"
        return Finding("agreement", "", "too little", 0, why)
    result: Result = "not worse" if found.share >= least else "worse"
    return Finding("agreement", "", result, found.inputs, f"{found.why}, where {least:.0%} must")


def _words(row: Finding) -> str:
    where = f" on {row.hardware_class}" if row.hardware_class else ""
    what = {
        "agreement": "agreement with the model before",
        "agreement live": "agreement with the model before on live answers",
    }.get(row.metric, row.metric)
    said = {"worse": "is worse", "not worse": "is not worse", "too little": "is open"}[row.result]
    on = "" if row.metric == "agreement" else f", on {devices_in_words(row.devices)}"
    return f"{what}{where} {said}: {row.figure}{on}"


def expected_s(rates: Sequence[float], rules: NotWorse, already: int, enough: int | None) -> float | None:
    """Return in how many seconds about enough devices will have been compared; None where they never will.

    rates: requests in a second of the devices that may still be compared.
    """
    if enough is None:
        return None
    missing = enough - already
    if missing <= 0:
        return 0.0
    times = sorted(_times(rates, rules))
    return times[missing - 1] if len(times) >= missing else None


def _times(rates: Sequence[float], rules: NotWorse) -> Iterator[float]:
    for rate in rates:
        if rate > 0:
            yield rules.warm_up_s + rules.min_requests / rate
