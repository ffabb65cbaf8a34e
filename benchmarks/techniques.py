"""Each technique of compression alone on the example's network: accuracy, bytes, arithmetic, and the time predicted for two boards.

Prints the table of docs/reference/techniques.md (`--write` puts it there). Figures: accuracy and kilobytes on the wire of each variant.
Training takes some minutes; `--work DIR` keeps it.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from edgefleet_compress import example, recipe
from edgefleet_compress import workload as workloads
from edgefleet_compress.pipeline import Made, Outcome, Pipeline
from edgefleet_compress.progress import Lines, Silent
from edgefleet_compress.targets import targets
from edgefleet_compress.work import Work

from ._report import report

EXAMPLE = Path(example.__file__).parent
PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "techniques.md"
BOARDS = ("pi4", "pi5")
MARK = "<!-- made by `make bench NAME=techniques ARGS=--write` -->"


def main(argv: list[str]) -> int:
    """Run; return 0."""
    parser = argparse.ArgumentParser(prog="make bench NAME=techniques", description=__doc__)
    parser.add_argument("--work", type=Path, help="keep finished steps here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        loaded = workloads.load(EXAMPLE / "workload.py")
        progress = Silent() if arguments.quiet else Lines()
        outcome = Pipeline(loaded, Work(arguments.work or Path(folder)), progress, arguments.seed).run(
            recipe.load(EXAMPLE / "techniques.toml")
        )
    text = table(outcome)
    print(text)
    if arguments.write:
        before, _, _ = PAGE.read_text().partition(MARK)
        PAGE.write_text(f"{before}{MARK}\n\n{text}\n")
    figures: dict[str, float] = {}
    for made in outcome.made:
        name = made.name.replace("-", "_")
        figures |= {f"{name}_accuracy": made.measures.accuracy, f"{name}_wire_kb": made.measures.wire_bytes / 1000}
    report("techniques", figures)
    return 0


def table(outcome: Outcome) -> str:
    """Return the table in Markdown."""
    predicted = " | ".join(f"{board}, ms" for board in BOARDS)
    lines = [
        f"| variant | how | accuracy | against fp32 | file, kB | wire, kB | Mio. MACs fp32 / int8 | int8 kernels | {predicted} |",
        "|---|---|---|---|---|---|---|---|" + "---|" * len(BOARDS),
    ]
    whole = next(made for made in outcome.made if made.name == recipe.ORIGINAL)
    lines += [_row(made, whole) for made in outcome.made]
    return "\n".join(lines)


def _row(made: Made, whole: Made) -> str:
    found = made.measures
    times = [
        f"{1000 * target.latency_s(found):.2f}" for board in BOARDS for target in targets() if target.name == board
    ]
    how = (
        ", ".join(word for word in made.candidate.lineage if not word.startswith(("finetune", "export", "tidy"))) or "-"
    )
    cells = [
        made.name,
        how,
        f"{found.accuracy:.4f}",
        f"{100 * (found.accuracy - whole.measures.accuracy):+.2f}",
        f"{found.bytes / 1000:.0f}",
        f"{found.wire_bytes / 1000:.0f}",
        f"{found.fp32_macs / 1e6:.2f} / {found.int8_macs / 1e6:.2f}",
        f"{found.int8_kernels}/{found.kernels}",
        *times,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
