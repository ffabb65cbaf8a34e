"""A choice as people read it, and as programs do. `agent explain` and `rollout plan` print the same words."""

from typing import Any

from .choose import Choice, Row
from .hardware import Hardware

_HEADINGS = ("variant", "verdict", "accuracy", "latency", "source", "memory", "wire", "reason")
_RIGHT = {"accuracy", "latency", "memory", "wire"}


def render(choice: Choice, release_name: str, hardware: Hardware) -> str:
    """Return the table of `choice`, one line a variant and best first, below a line that says what is taken.

    It ends with a newline. Reasons come last and are never cut, so that the columns before them stay in line.
    """
    taken = "none of its variants fits" if choice.taken is None else f"{choice.taken.name}, {choice.why}"
    cells = [_HEADINGS, *(_cells(row) for row in choice.table)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = [f"{release_name} on {_device(hardware)}", f"objective {choice.objective}: {taken}", ""]
    for line in cells:
        padded = (
            text.rjust(width) if heading in _RIGHT else text.ljust(width)
            for text, width, heading in zip(line, widths, _HEADINGS, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


def choice_to_dict(choice: Choice) -> dict[str, Any]:
    """Return `choice` for `--json`: `taken` (a name or None), `objective`, `why`, and `table`, best first."""
    return {
        "taken": None if choice.taken is None else choice.taken.name,
        "objective": choice.objective,
        "why": choice.why,
        "table": [
            {
                "variant": row.variant,
                "verdict": row.verdict,
                "reason": row.reason,
                "accuracy": row.accuracy,
                "latency_p50_s": row.latency.p50_s,
                "latency_source": row.latency.source,
                "memory_bytes": row.memory_bytes,
                "wire_bytes": row.wire_bytes,
            }
            for row in choice.table
        ],
    }


def _cells(row: Row) -> tuple[str, ...]:
    seconds = row.latency.p50_s
    return (
        row.variant,
        row.verdict,
        f"{row.accuracy:.4f}",
        "-" if seconds is None else f"{seconds * 1e3:.2f} ms",
        row.latency.source,
        f"{row.memory_bytes / 1e6:.1f} MB" if row.memory_bytes else "-",
        f"{row.wire_bytes / 1e6:.2f} MB",
        _one_line(row.reason),
    )


def _device(hardware: Hardware) -> str:
    parts = [hardware.arch]
    if hardware.cores:
        parts.append(f"{hardware.cores} cores")
    if hardware.memory_bytes:
        parts.append(f"{hardware.memory_bytes / 1e6:.0f} MB")
    parts += [f"{runtime.name} {runtime.version}" for runtime in hardware.runtimes]
    return _one_line(f"{hardware.hardware_class} ({', '.join(parts)})")


def _one_line(text: str) -> str:
    """A reason may quote what a worker printed: no line breaks, and nothing that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
