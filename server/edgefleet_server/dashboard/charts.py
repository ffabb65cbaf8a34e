"""Charts as geometry: what a template draws as SVG, and the same numbers as a table. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

WIDTH, HEIGHT = 760, 210
LEFT, RIGHT, TOP, BOTTOM = 64, 14, 14, 26
GAP_STEPS = 2.5
"""A line is broken where so many steps have no value: what is not known is not drawn."""
MOST_ROWS = 300
"""Of the table, the newest."""
Format = Callable[[float], str]


@dataclass(frozen=True)
class Line:
    """One line: its name, the class that says how it looks (dashes, not only colour), and a value for each moment."""

    name: str
    look: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Mark:
    """Something that happened: drawn as an upright line with its words."""

    at_s: float
    text: str


@dataclass(frozen=True)
class DrawnLine:
    """A line as a path; single points that have no neighbour are dots."""

    name: str
    look: str
    path: str
    dots: tuple[tuple[float, float], ...]
    last: str


@dataclass(frozen=True)
class DrawnMark:
    """A mark with its place; `anchor` keeps its words inside."""

    x: float
    text: str
    anchor: str
    labelled: bool


@dataclass(frozen=True)
class Chart:
    """Everything that is drawn and said of one chart."""

    title: str
    summary: str
    """For whoever does not see it: what it shows, and the newest values."""
    lines: tuple[DrawnLine, ...]
    marks: tuple[DrawnMark, ...]
    ticks_y: tuple[tuple[float, str], ...]
    ticks_x: tuple[tuple[float, str, str], ...]
    limit: tuple[float, str] | None
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Newest first."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def draw(
    title: str,
    at_s: Sequence[float],
    lines: Sequence[Line],
    form: Format,
    *,
    from_s: float,
    to_s: float,
    step_s: float,
    marks: Sequence[Mark] = (),
    limit: tuple[float, str] | None = None,
    least: float | None = 0.0,
    extra: tuple[str, Sequence[str]] | None = None,
    step: float | None = None,
) -> Chart | None:
    """Return the chart of these lines, or None when nothing was measured.

    form: writes a value; limit: a value that should not be passed, and its words; least: where the scale begins, None: near
    the smallest value; extra: one more column of the table; step: of the scale, where it is not to be found.
    """
    known = [value for line in lines for value in line.values if value is not None]
    if not known:
        return None
    to_s = max(to_s, from_s + step_s)
    highest, lowest = max(known), min(known)
    # A limit far above what is measured would press the lines flat; then it is only said.
    if limit is not None and highest < limit[0] < 3 * max(highest, 1e-12):
        highest = limit[0]
    low = lowest if least is None else min(least, lowest)
    step = step or step_for((highest - low) or abs(highest) or 1.0)
    bottom = math.floor(low / step) * step
    top = max(math.ceil(highest / step - 1e-9) * step, bottom + step)

    def x(moment: float) -> float:
        return round(LEFT + (moment - from_s) / (to_s - from_s) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (value - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM), 1)

    drawn = [_line(line, at_s, step_s, x, y, form) for line in lines if any(v is not None for v in line.values)]
    count = round((top - bottom) / step)
    words = ", ".join(f"{line.name} {line.last}" for line in drawn)
    return Chart(
        title=title,
        summary=f"{title}. Newest: {words}. Every value is in the table below.",
        lines=tuple(drawn),
        marks=_marks(marks, from_s, to_s, x),
        ticks_y=tuple((y(bottom + n * step), form(bottom + n * step)) for n in range(count + 1)),
        ticks_x=_moments(from_s, to_s, x),
        limit=None if limit is None or limit[0] > top else (y(limit[0]), limit[1]),
        headings=("Time (UTC)", *(line.name for line in lines), *((extra[0],) if extra else ())),
        rows=_rows(at_s, lines, form, extra),
    )


def step_for(span: float) -> float:
    """Return the smallest of 1, 2, 5, 10 … times a power of ten of which at most five cover `span`."""
    rough = span / 5
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next((n * power for n in (1, 2, 5, 10) if n * power >= rough * (1 - 1e-9)), 10 * power)


def _line(
    line: Line,
    at_s: Sequence[float],
    step_s: float,
    x: Callable[[float], float],
    y: Callable[[float], float],
    form: Format,
) -> DrawnLine:
    runs: list[list[tuple[float, float]]] = []
    before = -math.inf
    last = ""
    for moment, value in zip(at_s, line.values, strict=True):
        if value is None:
            continue
        if moment - before > GAP_STEPS * step_s:
            runs.append([])
        runs[-1].append((x(moment), y(value)))
        before, last = moment, form(value)
    path = " ".join("M" + " L".join(f"{across:g} {up:g}" for across, up in run) for run in runs if len(run) > 1)
    return DrawnLine(line.name, line.look, path, tuple(run[0] for run in runs if len(run) == 1), last)


def _marks(marks: Sequence[Mark], from_s: float, to_s: float, x: Callable[[float], float]) -> tuple[DrawnMark, ...]:
    found: list[DrawnMark] = []
    free = -math.inf
    for mark in sorted(marks, key=lambda one: one.at_s):
        if not from_s <= mark.at_s <= to_s:
            continue
        place = x(mark.at_s)
        wide = 6.2 * len(mark.text)  # about what 11 px letters take
        anchor = "end" if place + wide > WIDTH - RIGHT else "start"
        begins = place - wide if anchor == "end" else place
        labelled = begins > free
        if labelled:
            free = begins + wide + 6
        found.append(DrawnMark(place, mark.text, anchor, labelled))
    return tuple(found)


def _moments(from_s: float, to_s: float, x: Callable[[float], float]) -> tuple[tuple[float, str, str], ...]:
    form = "%H:%M" if to_s - from_s <= 2 * 86400 else "%d %b"
    found = []
    for part in range(5):
        moment = from_s + (to_s - from_s) * part / 4
        anchor = ("start", "middle", "middle", "middle", "end")[part]
        found.append((x(moment), datetime.fromtimestamp(moment, UTC).strftime(form), anchor))
    return tuple(found)


def _rows(
    at_s: Sequence[float], lines: Sequence[Line], form: Format, extra: tuple[str, Sequence[str]] | None
) -> tuple[tuple[str, ...], ...]:
    found = []
    for place in range(len(at_s) - 1, -1, -1):
        values = [line.values[place] for line in lines]
        if all(value is None for value in values):
            continue
        cells = ["–" if value is None else form(value) for value in values]
        found.append((stamp(at_s[place]), *cells, *((extra[1][place],) if extra else ())))
        if len(found) == MOST_ROWS:
            break
    return tuple(found)


def stamp(moment: float) -> str:
    """Return a moment in UTC, to the minute."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
