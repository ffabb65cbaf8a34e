"""The operating curve of the gates that compare models: how often a good model is stopped, and how soon a bad one.

    python -m benchmarks.operating_curve            # prints a table; last line one JSON object
    python -m benchmarks.operating_curve --write    # writes docs/reference/gates.md and docs/images/operating-curve.svg, too
    python -m benchmarks.operating_curve --runs 40  # a quick look

Fleets are simulated; the test is the product's own `compare`, asked after every device, as the controller asks it. A device has a
latency of its own, which cancels, and a change of its own, which does not: heat, load and neighbours move it by some percent whichever
model runs. Errors come in bursts: in one device of twenty everything fails for a while, before and after alike.
"""

import argparse
import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from edgefleet_protocol.rollout import NotWorse
from edgefleet_server.rollouts.compare import compare
from edgefleet_server.rollouts.pairs import Pair

from ._chart import Line, lines_chart
from ._report import report

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/reference/gates.md"
PICTURE = ROOT / "docs/images/operating-curve.svg"
SIZES = (10, 50, 200)
REQUESTS = 100
"""After the switch, of each device: what the gate asks for by itself."""
CLASSES = ("pi4", "pi5", "pi-zero-2-w")
RULES = NotWorse()
FINE = NotWorse(error_points=0.2)
"""For half a point of errors: what lies at the usual margin is no error of the gate if it passes."""


@dataclass(frozen=True)
class Model:
    """How a new model really differs from the one before."""

    name: str
    slower_percent: float = 0.0
    error_points: float = 0.0
    rules: NotWorse = RULES
    good: bool = False
    """Whether the gate's rules allow it."""


MODELS = (
    Model("no change", good=True),
    Model("+5 % latency, the margin", slower_percent=5.0, good=True),
    Model("+0.5 points of errors, the margin", error_points=0.5, good=True),
    Model("+10 % latency", slower_percent=10.0),
    Model("+20 % latency", slower_percent=20.0),
    Model("+50 % latency", slower_percent=50.0),
    Model("+0.5 points of errors, margin 0.2", error_points=0.5, rules=FINE),
    Model("+2 points of errors", error_points=2.0),
)


def pairs(
    model: Model, count: int, random: Random, *, spread: float = 0.04, error_percent: float = 0.5
) -> Iterator[Pair]:
    """Yield devices of one fleet, in the order in which they are compared."""
    for number in range(count):
        before, after = (
            _errors(random, error_percent / 100, 10 * REQUESTS),
            _errors(random, (error_percent + model.error_points) / 100, REQUESTS),
        )
        # Heavier tails than normal: one device in ten moves three times as much.
        own = spread * (3.0 if random.random() < 0.1 else 1.0)
        yield Pair(
            device=f"d{number}",
            hardware_class=random.choice(CLASSES),
            at_s=float(number),
            before="m/1",
            requests_before=10 * REQUESTS,
            requests_after=REQUESTS,
            errors_before=before,
            errors_after=after,
            latency=random.gauss(math.log1p(model.slower_percent / 100), own),
        )


def _errors(random: Random, rate: float, requests: int) -> int:
    bound, found, product = math.exp(-requests * rate), -1, 1.0
    while product > bound:
        product *= random.random()
        found += 1
    burst = requests // 10 if random.random() < 0.05 else 0
    return min(found + burst, requests)


@dataclass(frozen=True)
class Cell:
    """One model on fleets of one size."""

    stopped: float
    """Share of the runs."""
    passed: float
    """Share of the runs in which it was said that it is not worse."""
    devices: tuple[int, ...]
    """After how many devices it was stopped, sorted."""

    def at(self, share: float) -> int | None:
        """Return the number of devices within which this share of *all* runs was stopped; None when fewer ever were."""
        runs = round(len(self.devices) / self.stopped) if self.stopped else 0
        place = math.ceil(share * runs) - 1
        return self.devices[place] if 0 <= place < len(self.devices) else None


def cell(model: Model, size: int, runs: int, seed: int) -> Cell:
    """Return what the gate does with `model`, in so many simulated fleets."""
    stopped: list[int] = []
    passed = 0
    for run in range(runs):
        fleet = list(pairs(model, size, Random(f"{seed} {model.name} {size} {run}")))
        for count in looks(size):
            result = compare(fleet[:count], model.rules).result
            if result == "worse":
                stopped.append(count)
            passed += result == "not worse"
            if result != "too little":
                break
    return Cell(len(stopped) / runs, passed / runs, tuple(sorted(stopped)))


def looks(size: int) -> list[int]:
    """After how many devices it is asked: each of the first 30, then ever more rarely. More looks find it no later."""
    found = list(range(RULES.min_devices, min(size, 30) + 1))
    while found[-1] < size:
        found.append(min(size, found[-1] + found[-1] // 10))
    return found


def table(cells: dict[tuple[str, int], Cell], runs: int) -> str:
    """Return the figures in Markdown."""
    rows = [
        f"| the new model | {' | '.join(f'{size} devices' for size in SIZES)} |",
        f"|---|{'---|' * len(SIZES)}",
    ]
    for model in MODELS:
        shown = [_shown(cells[model.name, size]) for size in SIZES]
        rows.append(f"| {model.name}{' (allowed)' if model.good else ''} | {' | '.join(shown)} |")
    words = (
        f"\nShare of {runs} simulated rollouts that were stopped; in brackets after how many devices half of all, and nine in ten of all, "
        "were stopped; then the share in which it was said that the model is not worse. What is left had too little evidence.\n"
    )
    return "\n".join(rows) + "\n" + words


def _shown(found: Cell) -> str:
    half, most = found.at(0.5), found.at(0.9)
    when = f" ({half or '–'}, {most or '–'})" if found.devices and half else ""
    return f"stopped {found.stopped * 100:.1f} %{when}; not worse {found.passed * 100:.0f} %"


def picture(cells: dict[tuple[str, int], Cell], runs: int) -> str:
    """Return how the share of stopped rollouts rises with the devices that were compared, in fleets of 200."""
    found = []
    for model in MODELS:
        devices = cells[model.name, SIZES[-1]].devices
        points = [(2.0, 0.0)]
        for place, count in enumerate(devices, 1):
            points += [(float(count), points[-1][1]), (float(count), 100.0 * place / runs)]
        points.append((float(SIZES[-1]), points[-1][1]))
        found.append(Line(model.name, tuple(points)))
    return lines_chart(
        found,
        "devices compared before and after",
        "rollouts stopped, %",
        "How many rollouts are stopped, by how much worse the model is",
    )


def write(cells: dict[tuple[str, int], Cell], runs: int, page: Path = PAGE, svg: Path = PICTURE) -> None:
    """Put table and picture where the documentation has them."""
    begin, end = "<!-- table of benchmarks/operating_curve.py -->\n", "<!-- end of the table -->"
    text = page.read_text()
    text = re.sub(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: begin + table(cells, runs) + end, text, flags=re.DOTALL
    )
    page.write_text(text)
    svg.write_text(picture(cells, runs))


def measure(runs: int, seed: int, sizes: Sequence[int] = SIZES) -> dict[tuple[str, int], Cell]:
    """Return every model on every size of fleet."""
    return {(model.name, size): cell(model, size, runs, seed) for model in MODELS for size in sizes}


def main() -> int:
    """Simulate, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=300, help="simulated rollouts for each figure (default: 300)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the page and the picture")
    arguments = parser.parse_args()
    cells = measure(arguments.runs, arguments.seed)
    print(table(cells, arguments.runs))
    if arguments.write:
        write(cells, arguments.runs)
    good = max(cells[model.name, size].stopped for model in MODELS if model.good for size in SIZES)
    figures = {"good_stopped_percent_worst": 100 * good, "stated_percent": 100 * RULES.alpha}
    for name, model in (("10", MODELS[3]), ("20", MODELS[4]), ("50", MODELS[5])):
        for size in SIZES:
            figures[f"slower_{name}_stopped_percent_{size}"] = 100 * cells[model.name, size].stopped
        figures[f"slower_{name}_devices_half"] = float(cells[model.name, SIZES[-1]].at(0.5) or 0)
    report("operating_curve", figures)
    return 0 if good <= RULES.alpha else 1


if __name__ == "__main__":
    sys.exit(main())
