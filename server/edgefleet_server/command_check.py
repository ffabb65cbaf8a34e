"""What a command may say where the server knows it: a slip is told at once, and not by each device. Pure.

A device checks what it obeys all the same. Actions and arguments that are not named here go out as they are, for agents that are newer.
"""

from collections.abc import Mapping

from .errors import BadRequest

MOST_LINES = 500
"""Of a log that agents keep."""
LONGEST_S = 366 * 86400
"""A device keeps no pin longer."""
RANGES: Mapping[tuple[str, str], tuple[int, int, str]] = {
    ("logs", "lines"): (1, MOST_LINES, "lines"),
    ("pin", "for_s"): (60, LONGEST_S, "seconds"),
    ("rollback", "for_s"): (60, LONGEST_S, "seconds"),
}
"""By action and argument: least, most, and of what."""


def check(action: str, arguments: Mapping[str, str]) -> None:
    """Raise BadRequest, with the range, for an argument that no device would obey."""
    for name, text in arguments.items():
        if (bounds := RANGES.get((action, name))) is None:
            continue
        low, high, unit = bounds
        if not _is_within(text, low, high):
            raise BadRequest(
                f"arguments.{name} of {action} is {text[:40]!r}: write a number of {unit} from {low} to {high}"
            )


def _is_within(text: str, low: float, high: float) -> bool:
    try:
        return low <= float(text) <= high
    except ValueError:
        return False
