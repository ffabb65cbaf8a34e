"""The detector: mean average precision, bytes and predicted time of float, int8, pruned and distilled, and of int8 without a float head.

Prints the table of docs/reference/detector.md (`--write` puts it there). Training takes about three minutes; `--work DIR` keeps it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from ._report import report
from ._variants import DOCS, make, table, write

PAGE = DOCS / "detector.md"


def main(argv: list[str]) -> int:
    """Run; return 0."""
    parser = argparse.ArgumentParser(prog="make bench NAME=detector", description=__doc__)
    parser.add_argument("--work", type=Path, help="keep finished steps here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        outcome = make("detector.py", "detector.toml", arguments.work or Path(folder), arguments.seed, arguments.quiet)
    refused = [
        f"- `{made.name}`: {'; '.join(made.verdict.refusals)}"
        for made in outcome.made
        if made.verdict is not None and made.verdict.refusals
    ]
    text = (
        table(outcome, "mAP@0.5")
        + "\n\nWhat the insurance gate refuses of these:\n\n"
        + "\n".join(refused or ["- nothing"])
    )
    print(text)
    if arguments.write:
        write(PAGE, "detector", text)
    figures: dict[str, float] = {}
    for made in outcome.made:
        name = made.name.replace("-", "_")
        figures |= {f"{name}_map": made.measures.accuracy, f"{name}_wire_kb": made.measures.wire_bytes / 1000}
    report("detector", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
