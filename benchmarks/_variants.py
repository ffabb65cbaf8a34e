"""What benchmarks of compression share: all variants of a recipes file of the example, as a table in a page."""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgefleet_compress import example, recipe
from edgefleet_compress import workload as workloads
from edgefleet_compress.pipeline import Made, Outcome, Pipeline
from edgefleet_compress.progress import Lines, Silent
from edgefleet_compress.targets import targets
from edgefleet_compress.work import Work

from ._report import report

EXAMPLE = Path(example.__file__).parent
DOCS = Path(__file__).resolve().parent.parent / "docs" / "reference"
BOARDS = ("pi4", "pi5")


def run(
    name: str,
    about: str | None,
    files: tuple[str, str],
    argv: list[str],
    metric: str = "accuracy",
    more: Callable[[Outcome], str] = lambda outcome: "",
) -> int:
    """Make every variant of `files`, a workload and its recipes; print their table, write it where asked, and report; return 0.

    metric: as the table and the figures call it. more: what stands below the table.
    """
    parser = argparse.ArgumentParser(prog=f"make bench NAME={name}", description=about)
    parser.add_argument("--work", type=Path, help="keep finished steps here")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the table into the page")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        outcome = make(*files, arguments.work or Path(folder), arguments.seed, arguments.quiet)
    text = table(outcome, metric) + more(outcome)
    print(text)
    if arguments.write:
        write(DOCS / f"{name}.md", name, text)
    figures: dict[str, float] = {}
    for made in outcome.made:
        variant = made.name.replace("-", "_")
        figures |= {
            f"{variant}_{metric.partition('@')[0].lower()}": made.measures.accuracy,
            f"{variant}_wire_kb": made.measures.wire_bytes / 1000,
        }
    report(name, figures)
    return 0


def make(workload: str, recipes: str, work: Path, seed: int, quiet: bool) -> Outcome:
    """Return every variant of these files of the example, those too that the gates would refuse."""
    loaded = workloads.load(EXAMPLE / workload)
    read = recipe.load(EXAMPLE / recipes)
    progress = Silent() if quiet else Lines()
    return Pipeline(loaded, Work(work), progress, seed).run(replace(read, gates=replace(read.gates, refuse=False)))


def write(page: Path, bench: str, text: str) -> None:
    """Put `text` in the place of what stands behind the page's mark."""
    mark = f"<!-- made by `make bench NAME={bench} ARGS=--write` -->"
    before, _, _ = page.read_text().partition(mark)
    page.write_text(f"{before}{mark}\n\n{text}\n")


def table(outcome: Outcome, metric: str = "accuracy") -> str:
    """Return the table in Markdown."""
    predicted = " | ".join(f"{board}, ms" for board in BOARDS)
    lines = [
        f"| variant | how | {metric} | against fp32 | file, kB | wire, kB | Mio. MACs fp32 / int8 | int8 kernels | {predicted} |",
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
