"""Lines as an SVG picture that stands by itself, on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 56, 226, 44, 48
COLOURS = ("#5b8c5a", "#8fae3e", "#c2a83e", "#3b7dbd", "#7a5bbf", "#c0504d", "#d9822b", "#b0407f")


@dataclass(frozen=True)
class Line:
    """One line by its points."""

    name: str
    points: tuple[tuple[float, float], ...]


def lines_chart(lines: Sequence[Line], x_title: str, y_title: str, title: str) -> str:
    """Return the picture: x from 0 to the largest, y from 0 to 100, a name and a colour for each line."""
    most = max(x for line in lines for x, _ in line.points)

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = x / most, y / 100
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="14" font-weight="600" fill="#222222">{escape(title)}</text>',
    ]
    for value in range(0, 101, 20):
        x0, y = at(0, value)
        x1, _ = at(most, value)
        parts.append(f'<line x1="{x0:.0f}" x2="{x1:.0f}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x0 - 8:.0f}" y="{y + 4:.1f}" text-anchor="end" fill="#555555">{value}</text>')
    for step in range(6):
        x, y = at(most * step / 5, 0)
        parts.append(
            f'<text x="{x:.0f}" y="{y + 18:.0f}" text-anchor="middle" fill="#555555">{most * step / 5:.0f}</text>'
        )
    parts.append(
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end" fill="#333333">{escape(x_title)}</text>'
    )
    parts.append(f'<text x="{LEFT - 46}" y="{TOP - 6}" fill="#333333">{escape(y_title)}</text>')
    for place, line in enumerate(lines):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(
            f"{'M' if n == 0 else 'L'}{x:.1f},{y:.1f}" for n, (x, y) in enumerate(at(*p) for p in line.points)
        )
        parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = TOP + 20 * place + 8
        parts.append(
            f'<line x1="{WIDTH - RIGHT + 14}" x2="{WIDTH - RIGHT + 34}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        )
        parts.append(f'<text x="{WIDTH - RIGHT + 40}" y="{y + 4}" fill="#222222">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
