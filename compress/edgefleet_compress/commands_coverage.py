"""`edgefleet compress coverage FILE`: which kernel runs each heavy node."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .errors import CompressError


def add(verbs: Any) -> argparse.ArgumentParser:
    """Add the verb to a parser and return its own."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "coverage",
        help="print node by node which kernel runs, int8 or floating point, and why",
        description="Node by node: which kernel onnxruntime runs under the graph rules of a target, taken from the graph "
        "that it builds. Nodes that stay in floating point come with the reason.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="an ONNX file")
    parser.add_argument("--before", type=Path, metavar="FILE", help="the file that it was made of, to print beside it")
    parser.add_argument(
        "--rules",
        choices=("arm", "default"),
        default="arm",
        help="the graph that Arm gets, also on this machine, or the one that this machine builds (default: arm)",
    )
    parser.set_defaults(verb=_coverage)
    return parser


def _coverage(arguments: argparse.Namespace) -> int:
    from .gates.coverage import Table, table

    tables: list[Table] = []
    for path in (arguments.before, arguments.file):
        if path is None:
            continue
        try:
            data = path.read_bytes()
            tables.append(table(data, arguments.rules))
        except OSError:
            raise
        except Exception as error:  # onnx and onnxruntime have no common base for a file that they cannot read
            raise CompressError(f"{path} cannot be opened: {str(error).splitlines()[0]}") from error
    after, before = tables[-1], tables[0] if len(tables) > 1 else None
    if arguments.json:
        document: dict[str, Any] = asdict(after) | {"int8": after.int8, "all": after.all, "flags": after.flags}
        if before is not None:
            document["before"] = asdict(before) | {"int8": before.int8, "all": before.all}
        print(json.dumps(document))
        return 0
    print(text(after, before))
    return 0


def text(after: Any, before: Any = None) -> str:
    """Return the table as lines for a terminal."""
    was = {row.name: row.kernel or "-" for row in before.rows} if before is not None else {}
    head = ("node", "operator", *(("before",) if before is not None else ()), "kernel", "format", "why not int8")
    body = [
        (
            row.name,
            row.operator,
            *((was.get(row.name, "-"),) if before is not None else ()),
            row.kernel or "-",
            row.format,
            row.why,
        )
        for row in after.rows
    ]
    widths = [max(len(cells[column]) for cells in (head, *body)) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in (head, *body)
    ]
    if before is not None:
        lines.append(f"\nbefore: {before.words}")
    lines.append(f"{'after:  ' if before is not None else chr(10)}{after.words} (rules: {after.rules})")
    lines += [f"FLAG: {flag}" for flag in after.flags]
    lines += [
        f"NOTE: {row.name} was expected on {row.expected} and runs on {row.format}" for row in after.disagreements
    ]
    return "\n".join(lines)
