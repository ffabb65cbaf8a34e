"""Our int8 and our combinations beside other tools, on the same networks, data and seeds: accuracy, flips, bytes, coverage, time.

    make bench NAME=compress                              three seeds, about an hour on one core; `--work DIR` keeps it
    make bench NAME=compress ARGS="--seeds 1 --no-peers"  ours alone, once

Needs Debian's `dataset-fashion-mnist`. NNCF, AIMET and Model Optimizer get environments of their own below `.peers/`. Everything is scored with Arm's
graph rules; validation data chooses among our variants, test data is read for the figures. `--write` puts the tables into docs/reference/peers.md.
"""

import argparse
import lzma
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch

from edgefleet_compress import workload as workloads
from edgefleet_compress.candidate import Candidate
from edgefleet_compress.gates.coverage import table
from edgefleet_compress.measure.size import wire_bytes
from edgefleet_compress.pipeline import Made, Outcome, Pipeline
from edgefleet_compress.progress import Lines, Silent
from edgefleet_compress.recipe import ORIGINAL
from edgefleet_compress.runtime import Array, answers, open_session
from edgefleet_compress.work import Work, key_of
from edgefleet_compress.workload import Workload

from ._report import report
from ._variants import DOCS, write
from .peers import environments
from .peers.recipes import EQUAL_WIRE, SAMPLES, recipes

PAGE = DOCS / "peers.md"
HERE = Path(__file__).parent / "peers"
NETS = ("res", "mb6", "mbs")
PTQ = ("int8", "int8-percentile", "int8-mse", "int8-short", "int8-equalized")
"""Of these the one that is best on validation is called ours."""
HALVED = ("p50-magnitude", "p50-taylor")
SMALL = {
    net: tuple(f"p{round(100 * r)}-{scope}-a{levels}" for r, scope, levels in ways) for net, ways in EQUAL_WIRE.items()
}
WIRE = {"res": 42_900, "mb6": 16_900}
"""Bytes of the best single tools' chain under xz: what our wire may have at equal size."""


@dataclass(frozen=True)
class Row:
    """One file of one network and seed, scored on test data."""

    net: str
    seed: int
    name: str
    accuracy: float
    """Percent."""
    gains: int
    losses: int
    """Samples that only the variant, or only the float file, has right."""
    flips: float
    """Percent of predictions that changed."""
    bytes: int
    wire: int
    xz: int
    int8: int
    kernels: int
    qdq_left: int
    agreed: int
    """Convolutions and products, under Arm's and this machine's rules, of which the gate's rules say what the runtime builds."""
    asked: int
    flagged: bool
    """Whether the gate has something to say of it."""
    seconds: float
    validation: float


def main(argv: list[str]) -> int:
    """Run; return 0."""
    parser = argparse.ArgumentParser(prog="make bench NAME=compress", description=__doc__)
    parser.add_argument("--work", type=Path, help="keep finished steps here")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS))
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument(
        "--peers-folder", type=Path, default=environments.FOLDER, help="where the other tools' environments are"
    )
    parser.add_argument("--write", action="store_true", help="write the tables into the page")
    parser.add_argument("--quiet", action="store_true")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)  # the sums, and so the weights, are those of one thread wherever it runs
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Work(arguments.work or Path(folder))
        for net in arguments.nets:
            for seed in range(arguments.seeds):
                rows += _ours(net, seed, work, arguments.quiet)
                if not arguments.no_peers:
                    rows += _theirs(net, seed, rows, work, arguments.peers_folder)
    text = "\n\n".join((_table(rows, arguments.nets, arguments.seeds), _paired(rows, arguments.nets)))
    print(text)
    if arguments.write:
        write(PAGE, "compress", text)
    report("compress", _figures(rows, arguments.nets))
    return 0


def _ours(net: str, seed: int, work: Work, quiet: bool) -> list[Row]:
    loaded = workloads.load(HERE / f"workload_{net}.py")
    pipeline = Pipeline(loaded, work, Silent() if quiet else Lines(), seed)
    since = time.monotonic()
    outcome: Outcome = pipeline.run(recipes(net))
    seconds = time.monotonic() - since
    whole = next(made for made in outcome.made if made.name == ORIGINAL)
    return [_row(net, seed, made.name, _file(made), _file(whole), loaded.workload, seconds) for made in outcome.made]


def _file(made: Made) -> bytes:
    return made.candidate.onnx_bytes("bench")


def _theirs(net: str, seed: int, rows: list[Row], work: Work, folder: Path) -> list[Row]:
    loaded = workloads.load(HERE / f"workload_{net}.py")
    pipeline = Pipeline(loaded, work, Silent(), seed)
    with loaded.neighbours.at_work():
        steps = recipes(net)
        original, key = pipeline.original(steps.original)
        plain = next(recipe for recipe in steps.variants if recipe.name == ORIGINAL)
        exported, _ = pipeline.apply(ORIGINAL, plain.steps, original, key)
    data = exported.onnx_bytes("bench")
    found = []
    for name in environments.PEERS:
        kept = work.load(peer := key_of(key, "file", name, *environments.PEERS[name]))
        if kept is None:
            with tempfile.TemporaryDirectory() as place:
                model, calibration, out = (Path(place) / part for part in ("float.onnx", "calibration.npy", "out.onnx"))
                model.write_bytes(data)
                np.save(calibration, loaded.workload.train.inputs[:SAMPLES].numpy())
                ran = environments.run(name, model, calibration, out, folder)
            print(f"{net} seed {seed}: {name} {ran.words}, {ran.seconds:.0f} s", file=sys.stderr, flush=True)
            if ran.data is None:
                continue
            kept = Candidate(onnx=ran.data, facts={"seconds": ran.seconds})
            work.save(peer, kept)
        found.append(
            _row(net, seed, name, kept.onnx_bytes("bench"), data, loaded.workload, float(kept.facts["seconds"]))
        )
    return found


def _row(net: str, seed: int, name: str, data: bytes, whole: bytes, workload: Workload, seconds: float) -> Row:
    test = workload.test
    mine, theirs = (_labels(file, test.inputs.numpy()) for file in (data, whole))
    true = test.targets.numpy()
    right, was = mine == true, theirs == true
    seen = table(data, "arm")
    built = (seen, table(data, "default"))
    checked = workload.validation
    validation = float((_labels(data, checked.inputs.numpy()) == checked.targets.numpy()).mean())
    return Row(
        net=net, seed=seed, name=name, accuracy=100 * float(right.mean()), gains=int((right & ~was).sum()),
        losses=int((~right & was).sum()), flips=100 * float((mine != theirs).mean()), bytes=len(data), wire=wire_bytes(data),
        xz=len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)), int8=seen.int8, kernels=seen.all, qdq_left=seen.quantizers_left,
        agreed=sum(each.all - len(each.disagreements) for each in built), asked=sum(each.all for each in built), flagged=bool(seen.flags),
        seconds=round(seconds, 1), validation=100 * validation,
    )  # fmt: skip


def _labels(data: bytes, inputs: Array) -> Array:
    found: Array = answers(open_session(data, "arm"), inputs).argmax(1)
    return found


def _pick(rows: list[Row], net: str, seed: int, names: tuple[str, ...], most: int | None = None) -> Row | None:
    """Return the row that validation chooses among `names`, of those of at most so many bytes on our wire."""
    some = [row for row in rows if (row.net, row.seed) == (net, seed) and row.name in names]
    some = [row for row in some if most is None or row.wire <= most]
    return max(some, key=lambda row: (row.validation, -row.wire)) if some else None


def _figures(rows: list[Row], nets: list[str]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for net in nets:
        seeds = sorted({row.seed for row in rows if row.net == net})
        whole = [row for row in rows if row.net == net and row.name == ORIGINAL]
        best = [row for seed in seeds if (row := _pick(rows, net, seed, PTQ)) is not None]
        figures |= {
            f"{net}_float_accuracy": mean(row.accuracy for row in whole),
            f"{net}_int8_loss_pp": mean(w.accuracy - b.accuracy for w, b in zip(whole, best, strict=True)),
            f"{net}_int8_flips_percent": mean(row.flips for row in best),
            f"{net}_coverage": min(row.int8 / row.kernels for row in best),
            f"{net}_qdq_left": max(row.qdq_left for row in best),
        }
        for label, names, most in (
            ("prune50_kd_int8", HALVED, None),
            ("equal_wire", SMALL.get(net, ()), WIRE.get(net)),
            ("chain", ("chain-p50",), None),
        ):
            chosen = [row for seed in seeds if (row := _pick(rows, net, seed, names, most)) is not None]
            if chosen:
                figures[f"{net}_{label}_accuracy"] = mean(row.accuracy for row in chosen)
                figures[f"{net}_{label}_wire_kb"] = max(row.wire for row in chosen) / 1000
                figures[f"{net}_{label}_xz_kb"] = max(row.xz for row in chosen) / 1000
    figures["coverage_agreement_percent"] = 100 * sum(row.agreed for row in rows) / sum(row.asked for row in rows)
    figures["files_compared"] = len(rows)
    return {name: round(value, 4) for name, value in figures.items()}


def _table(rows: list[Row], nets: list[str], seeds: int) -> str:
    lines = [
        f"Means over {seeds} seed{'s' * (seeds > 1)}; ± is the standard deviation of the difference to the float file over seeds. Coverage: int8 kernels of all "
        "convolutions and matrix products, and Q/DQ nodes left, in the graph that Arm runs. Gate: whether the coverage gate flags the file, and of how "
        "many nodes, under the rules of Arm and of this machine, its rules foretold what onnxruntime built.",
        "",
        "| net | variant | accuracy, % | difference, points | flips, % | file, kB | wire, kB | xz, kB | coverage | Q/DQ left | gate | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for net in nets:
        for name in dict.fromkeys(row.name for row in rows if row.net == net):
            some = [row for row in rows if (row.net, row.name) == (net, name)]
            apart = [(row.gains - row.losses) / 100 for row in some]
            spread = f" ± {stdev(apart):.2f}" if len(apart) > 1 else ""
            agreed, asked = sum(row.agreed for row in some), sum(row.asked for row in some)
            gate = ("flags it, " if some[0].flagged else "") + f"{agreed}/{asked}"
            seconds = f"{mean(row.seconds for row in some):.0f}" if name in environments.PEERS else ""
            lines.append(
                f"| {net} | {name} | {mean(row.accuracy for row in some):.2f} | {mean(apart):+.2f}{spread} | {mean(row.flips for row in some):.2f} "
                f"| {mean(row.bytes for row in some) / 1000:.1f} | {mean(row.wire for row in some) / 1000:.1f} | {mean(row.xz for row in some) / 1000:.1f} "
                f"| {some[0].int8}/{some[0].kernels} | {max(row.qdq_left for row in some)} | {gate} | {seconds} |"
            )
    return "\n".join(lines)


def _paired(rows: list[Row], nets: list[str]) -> str:
    """Return each seed's paired counts: samples that only one of variant and float file has right."""
    lines = [
        "Paired with the float file, each seed: gains/losses of 10,000.",
        "",
        "| net | variant | by seed |",
        "|---|---|---|",
    ]
    for net in nets:
        for name in dict.fromkeys(row.name for row in rows if row.net == net and row.name != ORIGINAL):
            some = sorted((row for row in rows if (row.net, row.name) == (net, name)), key=lambda row: row.seed)
            lines.append(f"| {net} | {name} | {', '.join(f'{row.gains}/{row.losses}' for row in some)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
