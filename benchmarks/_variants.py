"""What benchmarks of compression share: all variants of a recipes file of the example, as a table in a page."""

from dataclasses import replace
from pathlib import Path

from edgefleet_compress import example, recipe
from edgefleet_compress import workload as workloads
from edgefleet_compress.pipeline import Made, Outcome, Pipeline
from edgefleet_compress.progress import Lines, Silent
from edgefleet_compress.targets import targets
from edgefleet_compress.work import Work

EXAMPLE = Path(example.__file__).parent
DOCS = Path(__file__).resolve().parent.parent / "docs" / "reference"
BOARDS = ("pi4", "pi5")


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
