"""A scatter plot with its Pareto front, as SVG text. Colours come from the page's classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

Box = tuple[float, float, float, float]

WIDTH, HEIGHT = 520, 320
LEFT, RIGHT, TOP, BOTTOM = 48, 20, 34, 46
LETTER = 6.6
"""Width of a letter of a label, roughly: enough to see that two labels would touch."""


@dataclass(frozen=True)
class Point:
    """One variant: less of x is better, more of y is better."""

    name: str
    x: float
    y: float


def front(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in one way without losing in the other, from small x to large."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers that enclose `low` and `high`."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / count
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first, last = floor(low / step), ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def scatter(points: Sequence[Point], x_title: str, y_title: str) -> str:
    """Return the picture: every point with its name, those on the front filled and joined by steps."""
    x_ticks = ticks(0.0, max(p.x for p in points) * 1.05)
    middle = (max(p.y for p in points) + min(p.y for p in points)) / 2
    # At least two points high: a difference of a twentieth must not look like a cliff.
    half = max((max(p.y for p in points) - min(p.y for p in points)) / 2 * 1.2, 1.0)
    y_ticks = ticks(middle - half, middle + half)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y_title)} against {escape(x_title)}">'
    ]
    for value in y_ticks:
        _, y = at(x_ticks[0], value)
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" text-anchor="end" x="{LEFT - 8}" y="{y + 4:.1f}">{value:.{_digits(y_ticks)}f}</text>'
        )
    for value in x_ticks:
        x, _ = at(value, y_ticks[0])
        parts.append(
            f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{value:.{_digits(x_ticks)}f}</text>'
        )
    parts.append(f'<text class="tick" text-anchor="end" x="{WIDTH - RIGHT}" y="{HEIGHT - 10}">{escape(x_title)}</text>')
    parts.append(f'<text class="tick" x="2" y="14">{escape(y_title)}</text>')
    best = front(points)
    parts.append(f'<path class="front" d="{_steps([at(p.x, p.y) for p in best], at(x_ticks[-1], y_ticks[0])[0])}"/>')
    level = [at(p.x, p.y)[1] for p in best]
    names: list[Box] = []
    dots = [at(p.x, p.y) for p in points]
    # From the left, so that names which must move away do not cross.
    for point, (x, y) in sorted(zip(points, dots, strict=True), key=lambda pair: pair[1]):
        kind = "on" if point in best else "off"
        parts.append(
            f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
            f"<title>{escape(point.name)}: {point.x:.4g} {escape(x_title)}, {point.y:.2f} {escape(y_title)}</title></circle>"
        )
        parts.append(_label(point.name, x, y, names, dots, level))
    return "".join((*parts, "</svg>"))


def _label(
    name: str, x: float, y: float, taken: list[Box], dots: Sequence[tuple[float, float]], level: Sequence[float]
) -> str:
    """Return the name beside its point: right, left, above or below, where it touches neither names, dots, the front nor the edge."""
    wide = len(name) * LETTER
    # Nearest first: `min` takes the first of those with the least trouble.
    heights = (4, -12, 20, -26, 34, -40, 48)
    places = [(left, y + down) for down in heights for left in (x + 10, x - 10 - wide, x - wide / 2)]
    places = [(left, low) for left, low in places if (left, low) != (x - wide / 2, y + 4)]

    def trouble(place: tuple[float, float]) -> int:
        left, bottom = place
        box = (left, bottom - 11, left + wide, bottom + 3)
        outside = box[0] < LEFT or box[2] > WIDTH or box[1] < 0 or box[3] > HEIGHT - BOTTOM + 2
        on_dots = sum(box[0] - 6 < dx < box[2] + 6 and box[1] - 6 < dy < box[3] + 6 for dx, dy in dots)
        on_line = any(box[1] < height < box[3] for height in level)
        on_names = sum(box[0] < o[2] and o[0] < box[2] and box[1] < o[3] and o[1] < box[3] for o in taken)
        return 10 * outside + 2 * on_dots + 3 * on_names + on_line

    left, bottom = min(places, key=trouble)
    box = (left, bottom - 11, left + wide, bottom + 3)
    taken.append(box)
    text = f'<text class="name" x="{left:.1f}" y="{bottom:.1f}">{escape(name)}</text>'
    if -14 < bottom - y < 22:
        return text
    # A name that had to move away keeps a thin line to its point.
    near_x, near_y = min(max(x, box[0]), box[2]), box[1] if bottom > y else box[3]
    return f'<line class="lead-line" x1="{x:.1f}" y1="{y:.1f}" x2="{near_x:.1f}" y2="{near_y:.1f}"/>{text}'


def _steps(corners: Sequence[tuple[float, float]], end: float) -> str:
    """Return the path of a front: level until the next point is better, then up to it, and on to the right edge."""
    path = f"M{corners[0][0]:.1f} {corners[0][1]:.1f}"
    for x, y in corners[1:]:
        path += f"H{x:.1f}V{y:.1f}"
    return f"{path}H{end:.1f}"


def _digits(values: Sequence[float]) -> int:
    step = values[1] - values[0]
    return max(0, -floor(log10(step) + 1e-9)) if step < 1 else (0 if step == int(step) else 1)
