"""The report: one HTML file that needs nothing else, with the pictures drawn here as SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import sqrt

from edgefleet_protocol.manifest import Release, Variant

from ..gates.coverage import Table
from ..measure import Measures
from ..pipeline import Outcome
from ..points import change_in_points, signed
from ..recipe import ORIGINAL
from ..targets import targets, this_class
from .chart import Point, scatter
from .gates_page import gates_section
from .golden import GoldenAnswers


@dataclass(frozen=True)
class Facts:
    """All that the report says."""

    release: Release
    outcome: Outcome
    golden: Mapping[str, GoldenAnswers]
    environment: Mapping[str, str]
    lineage: Mapping[str, Sequence[str]]
    warnings: Sequence[str] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    """Each variant's coverage, node by node."""


def report(facts: Facts) -> str:
    """Return the HTML."""
    release, measures = facts.release, {made.name: made.measures for made in facts.outcome.made}
    original = measures[ORIGINAL]
    best = _headline(release, measures)
    charts = "".join(
        f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>"
        for picture, caption in (
            (_by_bytes(release, measures), "Accuracy against bytes on the wire. Up and left is better."),
            (
                _by_latency(release, measures),
                f"Accuracy against the time of one inference on this machine ({this_class()}).",
            ),
        )
    )
    verdicts = {made.name: made.verdict for made in facts.outcome.made if made.verdict is not None}
    gates = gates_section(facts.tables, verdicts, ORIGINAL) if ORIGINAL in facts.tables else ""
    left_out = "".join(f"<li><b>{escape(entry.name)}</b>: {escape(entry.why)}</li>" for entry in facts.outcome.left_out)
    warnings = "".join(f'<p class="warning"><b>Warning:</b> {escape(text)}</p>' for text in facts.warnings)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(release.model)}: {len(release.variants)} variants</title><style>{_STYLE}</style></head><body><main>
<header><p class="kind">EdgeFleet compression report</p><h1>{escape(release.model)}</h1>
<p class="lead">{best}</p>{warnings}</header>
<section class="charts">{charts}</section>
<section><h2>Variants</h2><div class="wide"><table>{_variants(facts, measures, original)}</table></div>
{f"<h3>Left out</h3><ul>{left_out}</ul>" if left_out else ""}</section>
<section><h2>Expected time per inference</h2><p class="note">Milliseconds, batch 1, one thread. Measured on this machine's
class; all other columns are predictions from counted arithmetic and estimated rates, until devices report. &ldquo;Not for it&rdquo;:
that class lacks an instruction set that the variant needs.</p>
<div class="wide"><table>{_latencies(release)}</table></div></section>
{gates}<section><h2>How each was made</h2><dl class="lineage">{_lineage(facts)}</dl></section>
<section class="two"><div><h2>How it was scored</h2>
<p>{escape(original_words(release))} The graph is the one that onnxruntime builds on Arm
(<code>session.qdqisint8allowed</code>), also on this machine, so int8 is scored with the arithmetic of the devices.
Choices were made on the validation data only.</p>
<p>A golden answer may be off by twice the largest difference seen between graph rules, thread counts and batch sizes, plus two steps of
the output's scale where it is int8.</p></div>
<div><h2>Environment</h2><table class="plain">{_rows(facts.environment)}</table></div></section>
</main></body></html>
"""


def original_words(release: Release) -> str:
    """Return what was measured, on how many samples."""
    accuracy = release.variants[0].accuracy
    error = 100 * sqrt(max(accuracy.value * (1 - accuracy.value), 0) / accuracy.samples)
    return (
        f"{accuracy.metric.capitalize()} on {accuracy.samples:,} held-out samples that no choice has seen; one standard "
        f"error is {error:.2f} points, so smaller differences may be chance."
    )


def _headline(release: Release, measures: Mapping[str, Measures]) -> str:
    original = measures[ORIGINAL]
    smallest = min(measures, key=lambda name: measures[name].wire_bytes)
    chosen = measures[smallest]
    if smallest == ORIGINAL:
        return f"The original: {_percent(original.accuracy)} in {_kb(original.wire_bytes)}."
    change = signed(change_in_points(original.accuracy, chosen.accuracy))
    return (
        f"The smallest variant, <b>{escape(smallest)}</b>, needs <b>{original.wire_bytes / chosen.wire_bytes:.1f} times "
        f"fewer bytes</b> on the wire than the original; its {escape(release.variants[0].accuracy.metric)} changes by "
        f"{change} points ({_percent(original.accuracy)} to {_percent(chosen.accuracy)})."
    )


def _by_bytes(release: Release, measures: Mapping[str, Measures]) -> str:
    points = [Point(v.name, measures[v.name].wire_bytes / 1000, 100 * v.accuracy.value) for v in release.variants]
    return scatter(points, "kB on the wire", f"{release.variants[0].accuracy.metric} %")


def _by_latency(release: Release, measures: Mapping[str, Measures]) -> str:
    points = [Point(v.name, measures[v.name].latency_p50_s * 1000, 100 * v.accuracy.value) for v in release.variants]
    return scatter(points, "ms per inference", f"{release.variants[0].accuracy.metric} %")


def _variants(facts: Facts, measures: Mapping[str, Measures], original: Measures) -> str:
    head = (
        "variant", facts.release.variants[0].accuracy.metric, "points", "file", "on the wire", "smaller", "p50 here",
        "MACs", "int8 kernels", "memory bound", "golden ±, top-1", "needs",
    )  # fmt: skip
    body = "".join(_variant_row(variant, measures[variant.name], original) for variant in facts.release.variants)
    return f"<thead><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr></thead><tbody>{body}</tbody>"


def _variant_row(variant: Variant, measured: Measures, original: Measures) -> str:
    change = signed(change_in_points(original.accuracy, measured.accuracy))
    tolerance = variant.golden.tolerances[0]
    cells = (
        _percent(measured.accuracy), "" if variant.name == ORIGINAL else change, _kb(measured.bytes),
        _kb(measured.wire_bytes), f"{original.wire_bytes / measured.wire_bytes:.1f}×", f"{measured.latency_p50_s * 1000:.3f} ms",
        f"{(measured.fp32_macs + measured.int8_macs) / 1e6:.2f} M", f"{measured.int8_kernels}/{measured.kernels}",
        f"{measured.memory_bytes / 1e6:.0f} MB", f"{tolerance.max_abs:.2g}, {tolerance.min_top1:.0%}",
        ", ".join((*variant.requires.arch, *variant.requires.features)) or "nothing special",
    )  # fmt: skip
    return f"<tr><th>{escape(variant.name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _latencies(release: Release) -> str:
    boards = {target.name: target.board for target in targets()}
    here = this_class()
    classes = (here, *(name for name in boards if name != here))
    head = "".join(
        f'<th title="{escape(boards.get(name, ""))}">{escape(name)}'
        f"<small>{'measured' if name == here else 'predicted'}</small></th>"
        for name in classes
    )
    body = "".join(
        f"<tr><th>{escape(variant.name)}</th>{''.join(_latency_cell(variant, name) for name in classes)}</tr>"
        for variant in release.variants
    )
    return f"<thead><tr><th>variant</th>{head}</tr></thead><tbody>{body}</tbody>"


def _latency_cell(variant: Variant, hardware_class: str) -> str:
    row = variant.latency_on(hardware_class)
    return f"<td>{row.p50_s * 1000:.2f}</td>" if row is not None else "<td><small>not for it</small></td>"


def _lineage(facts: Facts) -> str:
    return "".join(
        f"<dt>{escape(variant.name)}</dt><dd>{' <i>→</i> '.join(escape(step) for step in facts.lineage[variant.name])}</dd>"
        for variant in facts.release.variants
    )


def _rows(facts: Mapping[str, str]) -> str:
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts.items())


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _kb(count: int) -> str:
    return f"{count / 1000:,.1f} kB"


_STYLE = """
:root{color-scheme:light dark;--ground:#fbfaf8;--card:#fff;--ink:#1d2327;--soft:#667077;--line:#e3e0da;--mark:#0b7a75;--other:#b8843a}
@media(prefers-color-scheme:dark){:root{--ground:#14181a;--card:#1c2225;--ink:#e6e9ea;--soft:#98a3a9;--line:#323a3f;--mark:#4fc3bb;--other:#e0b064}}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:40px 24px 64px}header{margin-bottom:28px}.kind{color:var(--soft);margin:0}
h1{font-size:34px;margin:0 0 8px;line-height:1.15}h2{font-size:18px;margin:36px 0 10px}h3{font-size:15px;margin:18px 0 6px}
.lead{font-size:18px;max-width:52em;margin:0}.note{color:var(--soft);margin:0 0 10px;max-width:60em}
.warning{max-width:60em;margin:14px 0 0;padding:8px 12px;border-left:4px solid var(--other);background:var(--card)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:20px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 14px 10px}
figcaption{color:var(--soft);font-size:13px}svg{display:block;width:100%;height:auto}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px}
table{font-size:14px;border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{padding:8px 10px;text-align:right;white-space:nowrap}
thead th{color:var(--soft);font-weight:500;font-size:13px;border-bottom:1px solid var(--line);vertical-align:bottom}
th:first-child{text-align:left}tbody th{font-weight:600}tbody tr+tr>*{border-top:1px solid var(--line)}
th small{display:block;font-weight:400}.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(360px,1fr));gap:0 40px}
.plain th{font-weight:400;color:var(--soft);padding-left:0}.plain td{white-space:normal}.lineage{display:grid;grid-template-columns:max-content 1fr;gap:6px 20px;margin:0}
details{margin:8px 0}summary{cursor:pointer}dt{font-weight:600}dd{margin:0}dd i{color:var(--soft);font-style:normal}code{font-size:13px}
.axis{stroke:var(--line)}.lead-line{stroke:var(--soft);stroke-width:.8}.tick{fill:var(--soft);font:11px system-ui,sans-serif}.name{fill:var(--ink);font:12px system-ui,sans-serif}
.front{fill:none;stroke:var(--mark);stroke-width:1.5;stroke-dasharray:4 4;opacity:.7}.on{fill:var(--mark)}.off{fill:var(--card);stroke:var(--other);stroke-width:2}
"""
