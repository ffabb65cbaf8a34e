"""Tables for people. What devices say may hold anything, so nothing that a terminal would obey is printed."""

import json
import sys
from collections.abc import Sequence
from typing import Any


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return rows below headings, columns in line; the last column is never padded or cut."""
    cells = [tuple(headings), *(tuple(clean(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(headings))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def clean(value: object) -> str:
    """Return `value` on one line of printable characters; nothing as a dash."""
    text = "-" if value is None or value == "" else str(value)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def warn_unsent(answer: dict[str, Any]) -> None:
    """Say on standard error when what was ordered cannot go out now."""
    if not answer["broker_connected"]:
        print(
            "The server has no connection to its broker, so no device hears of it now. It is signed and stored, and is "
            "sent as soon as the broker is back.",
            file=sys.stderr,
        )


def as_json(value: Any) -> str:
    """Return `value` as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def milliseconds(seconds: float | None) -> str:
    """Return seconds as milliseconds."""
    return "-" if seconds is None else f"{seconds * 1e3:.1f} ms"


def megabytes(size: int | None) -> str:
    """Return bytes as 10^6 bytes."""
    return "-" if size is None else f"{size / 1e6:.1f} MB"


def ago(now_s: float, then_s: float | None) -> str:
    """Return how long ago `then_s` was."""
    if then_s is None:
        return "never"
    seconds = max(0.0, now_s - then_s)
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {word} ago"
    return f"{seconds:.0f} s ago"
