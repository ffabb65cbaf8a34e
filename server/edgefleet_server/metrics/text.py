"""Prometheus' text format, written by hand: it is five lines of rules."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from edgefleet_protocol.sketch import HIGHEST, PER_DOUBLING, Sketch

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_PER_DOUBLING = 2
FIRST_DOUBLING, LAST_DOUBLING = -11, 5
"""From half a millisecond to half a minute."""
ENDS = tuple(
    range(FIRST_DOUBLING * PER_DOUBLING, LAST_DOUBLING * PER_DOUBLING + 1, PER_DOUBLING // BUCKETS_PER_DOUBLING)
)
"""Each is a boundary of the sketch's own, so that no count is guessed."""


@dataclass(frozen=True)
class Sample:
    """One number with its labels. `suffix`: of a histogram's parts."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True)
class Family:
    """One metric."""

    name: str
    kind: str
    help: str
    samples: tuple[Sample, ...]


def histogram(sketch: Sketch, labels: Mapping[str, str]) -> tuple[Sample, ...]:
    """Return a sketch as a classic histogram. Its sum is made of the buckets' middles, at most 2.2 % off."""
    samples, seen, place = [], sketch.zero, 0
    for end in ENDS:
        while place < len(sketch.counts) and sketch.offset + place < end:
            seen += sketch.counts[place]
            place += 1
        samples.append(Sample(seen, {**labels, "le": f"{2 ** (end / PER_DOUBLING):.6g}"}, "_bucket"))
    total = sum(
        count * 2 ** ((min(index, HIGHEST) + 0.5) / PER_DOUBLING)
        for index, count in enumerate(sketch.counts, sketch.offset)
        if count
    )
    return (
        *samples,
        Sample(sketch.count, {**labels, "le": "+Inf"}, "_bucket"),
        Sample(total, labels, "_sum"),
        Sample(sketch.count, labels, "_count"),
    )


def write(families: Iterable[Family]) -> str:
    """Return the whole page."""
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {_escape(family.help)}", f"# TYPE {family.name} {family.kind}"]
        lines += [_line(family.name, sample) for sample in family.samples]
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escape(value, quoted=True)}"' for key, value in sample.labels.items())
    return (
        f"{name}{sample.suffix}{{{labels}}} {_number(sample.value)}"
        if labels
        else f"{name}{sample.suffix} {_number(sample.value)}"
    )


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _escape(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text
