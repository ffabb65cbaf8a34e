"""Each technique of compression alone on the example's network: accuracy, bytes, arithmetic, and the time predicted for two boards.

Prints the table of docs/reference/techniques.md (`--write` puts it there). Figures: accuracy and kilobytes on the wire of each variant.
Training takes some minutes; `--work DIR` keeps it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from ._report import report
from ._variants import DOCS, make, table, write

PAGE = DOCS / "techniques.md"


def main(argv: list[str]) -> int:
    """Run; return 0."""
    parser = argparse.ArgumentParser(prog="make bench NAME=techniques", description=__doc__)
    parser.add_argument("--work", type=Path, help="keep finished steps here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        outcome = make(
            "workload.py", "techniques.toml", arguments.work or Path(folder), arguments.seed, arguments.quiet
        )
    text = table(outcome)
    print(text)
    if arguments.write:
        write(PAGE, "techniques", text)
    figures: dict[str, float] = {}
    for made in outcome.made:
        name = made.name.replace("-", "_")
        figures |= {f"{name}_accuracy": made.measures.accuracy, f"{name}_wire_kb": made.measures.wire_bytes / 1000}
    report("techniques", figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
