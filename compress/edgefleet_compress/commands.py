"""`edgefleet compress run|search|onnx|coverage|boards|example|show`."""

import argparse
import errno
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path

import msgspec

from edgefleet_protocol.codec import encode
from edgefleet_protocol.manifest import Release, Variant

from . import __version__, commands_boards, commands_coverage, commands_onnx, commands_search
from .errors import BadMetric, CompressError, DiskFull, RecipeError, WorkloadError
from .points import change_in_points, signed

DONE, FAILED, USAGE, NOT_FOUND, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = (
    "exit codes: 0 done, 1 failed, 2 usage or a workload or recipe that cannot work, 3 not found, 130 interrupted"
)
EXAMPLE = ("workload.py", "recipes.toml", "recipes-2.toml")


def main(argv: list[str]) -> int:
    """Run one verb and return its exit code: 0 done, 1 failed, 2 usage, 3 not found, 130 interrupted."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as leave:  # argparse ends the process itself; --help with 0, a mistake with 2
        return int(leave.code or 0)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    try:
        return verb(arguments)
    except KeyboardInterrupt:
        print(
            "\ninterrupted; finished steps and epochs are kept, and the same command goes on from there",
            file=sys.stderr,
        )
        return INTERRUPTED
    except (RecipeError, WorkloadError, BadMetric) as error:
        return _fail(error, USAGE)
    except CompressError as error:
        return _fail(error, FAILED)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            folder = Path(error.filename) if error.filename else Path(arguments.out)
            return _fail(DiskFull(folder, _free_bytes(folder)), FAILED)
        return _fail(error, NOT_FOUND if isinstance(error, FileNotFoundError) else FAILED)


def _run(arguments: argparse.Namespace) -> int:
    # Loaded here: torch takes seconds, and --help should not.
    import torch

    from . import doubts, preflight, recipe, workload
    from .environment import environment
    from .gates.calibration import few_samples
    from .gates.coverage import table
    from .package import variants
    from .package.gates_page import gates_document
    from .package.lineage import LINEAGE, lineage_document
    from .package.report import Facts, report
    from .pipeline import Pipeline
    from .progress import for_this_terminal
    from .targets import use_folder
    from .work import Work

    since = time.monotonic()
    for name, path in (("workload", arguments.workload), ("recipes", arguments.recipes)):
        if not path.is_file():
            print(
                f"edgefleet compress: there is no {name} file {path}; `edgefleet compress example DIR` writes one",
                file=sys.stderr,
            )
            return NOT_FOUND
    if arguments.targets is not None:
        use_folder(arguments.targets)
    torch.set_num_threads(arguments.threads)
    recipes = recipe.load(arguments.recipes)
    warnings = [*doubts.of_recipes(recipes)]
    _warn(warnings)
    work = arguments.work or arguments.out.with_name(arguments.out.name + "-work")
    preflight.check_places(arguments.out, work)
    loaded = workload.load(arguments.workload)
    preflight.check_recipes(loaded, recipes)
    few = few_samples(loaded.workload, recipes)
    _warn(few)
    warnings += few
    made_with = environment(arguments.seed, arguments.threads)
    with for_this_terminal() as progress:
        outcome = Pipeline(loaded, Work(work), progress, arguments.seed).run(recipes)
        progress.begin("package")
        found = doubts.of_outcome(loaded.workload, outcome)
        notes = [*(f"WARNING: {text}" for text in found), ", ".join(f"{k} {v}" for k, v in made_with.items())]
        packed = variants.pack(loaded.workload, outcome, notes=" ".join(notes))
        lineage = {made.name: made.candidate.lineage for made in outcome.made}
        tables = {made.name: table(made.candidate.onnx_bytes("package"), "arm") for made in outcome.made}
        verdicts = {made.name: made.verdict for made in outcome.made if made.verdict is not None}
        page = report(Facts(packed.release, outcome, packed.golden, made_with, lineage, (*warnings, *found), tables))
        packed.contents.beside["gates.json"] = json.dumps(gates_document(tables, verdicts)).encode()
        packed.contents.beside["report.html"] = page.encode()
        packed.contents.beside[LINEAGE] = lineage_document(loaded, arguments.recipes, made_with, lineage)
        variants.write(arguments.out, encode(packed.release), packed.contents)
        progress.end(str(arguments.out))
    summary = _summary(packed.release, {made.name: made.measures.wire_bytes for made in outcome.made})
    summary |= {
        "package": str(arguments.out),
        "left_out": [{"name": entry.name, "why": entry.why} for entry in outcome.left_out],
        "warnings": [*warnings, *found],
        "gates": {name: msgspec.to_builtins(verdict) for name, verdict in verdicts.items()},
        "seconds": round(time.monotonic() - since, 1),
        "cpu_seconds": round(_cpu_seconds(), 1),
    }
    _print(arguments, packed.release, summary)
    _warn(found)
    _warn(f"{entry.name} was left out: {entry.why}" for entry in outcome.left_out)
    if not arguments.json:
        _say(
            f"\nreport: {arguments.out / 'report.html'}\nnext:   edgefleet release propose {arguments.out} --repository …"
        )
    return DONE


def _example(arguments: argparse.Namespace) -> int:
    folder: Path = arguments.out
    if taken := [name for name in EXAMPLE if (folder / name).exists()]:
        print(f"edgefleet compress: {folder / taken[0]} is there already; name another folder", file=sys.stderr)
        return FAILED
    folder.mkdir(parents=True, exist_ok=True)
    source = files("edgefleet_compress.example")
    for name in EXAMPLE:
        (folder / name).write_bytes((source / name).read_bytes())
    paths = {name: str(folder / name) for name in EXAMPLE}
    command = (
        f"edgefleet compress run {paths['workload.py']} --recipes {paths['recipes.toml']} --out {folder / 'package'}"
    )
    _say(
        json.dumps({"files": list(paths.values()), "command": command})
        if arguments.json
        else f"wrote {', '.join(paths.values())}\nnext: {command}"
    )
    return DONE


def _show(arguments: argparse.Namespace) -> int:
    from .measure.size import wire_bytes
    from .package import variants

    if not (arguments.out / "release.json").is_file():
        print(f"edgefleet compress: {arguments.out} is no package: it has no release.json", file=sys.stderr)
        return NOT_FOUND
    release, contents = variants.read(arguments.out)
    wire = {variant.name: wire_bytes(contents.files[variant.files[0]]) for variant in release.variants}
    _print(arguments, release, _summary(release, wire) | {"package": str(arguments.out)})
    return DONE


def _summary(release: Release, wire: dict[str, int]) -> dict[str, object]:
    original = release.original_accuracy.value if release.original_accuracy else None
    return {
        "model": release.model,
        "original_accuracy": original,
        "variants": [_row(variant, wire[variant.name], original) for variant in release.variants],
    }


def _row(variant: Variant, wire: int, original: float | None) -> dict[str, object]:
    return {
        "name": variant.name,
        "recipe": variant.recipe,
        "accuracy": variant.accuracy.value,
        "points_lost": None if original is None else change_in_points(variant.accuracy.value, original),
        "points_change": None if original is None else change_in_points(original, variant.accuracy.value),
        "bytes": variant.bytes,
        "wire_bytes": wire,
        "memory_bytes": variant.requires.memory_bytes,
        "features": list(variant.requires.features),
        "latency": [msgspec.to_builtins(row) for row in variant.latency],
        "tolerance": variant.golden.tolerances[0].max_abs,
        "min_top1": variant.golden.tolerances[0].min_top1,
    }


def _print(arguments: argparse.Namespace, release: Release, summary: dict[str, object]) -> None:
    if arguments.json:
        _say(json.dumps(summary))
        return
    width = max(len(variant.name) for variant in release.variants)
    _say(f"{'variant':<{width}}  accuracy  change      file    on wire   p50 here  made by")
    rows = summary["variants"]
    assert isinstance(rows, list)
    for row, variant in zip(rows, release.variants, strict=True):
        measured = next((entry.p50_s for entry in variant.latency if entry.how == "measured"), None)
        time_ = "" if measured is None else f"{measured * 1000:.3f} ms"
        change = "-" if row["points_change"] is None else signed(row["points_change"])
        _say(
            f"{variant.name:<{width}}  {100 * variant.accuracy.value:6.2f} %  {change:>6}"
            f"  {variant.bytes / 1000:6.1f} kB  {row['wire_bytes'] / 1000:6.1f} kB  {time_:>9}  {variant.recipe}"
            + (f" (needs {', '.join(variant.requires.features)})" if variant.requires.features else "")
        )


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has read enough. Python would complain once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn(warnings: Iterable[str]) -> None:
    for text in warnings:
        print(f"WARNING: {text}", file=sys.stderr, flush=True)


def _fail(error: Exception, code: int) -> int:
    print(f"edgefleet compress: {error}", file=sys.stderr)
    return code


def _free_bytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _cpu_seconds() -> float:
    whole = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in whole)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgefleet compress",
        description="A trained model into variants for the hardware of a fleet.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run = verbs.add_parser(
        "run", help="make all variants of a workload and the package for `edgefleet release propose`"
    )
    run.add_argument("workload", type=Path, metavar="WORKLOAD", help="the Python file with model, data and metric")
    run.add_argument("--recipes", type=Path, required=True, metavar="FILE", help="the recipes: .toml or .py")
    run.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the package goes")
    run.add_argument(
        "--work", type=Path, metavar="DIR", help="where finished steps are kept (default: DIR-work beside --out)"
    )
    run.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    run.add_argument(
        "--threads",
        type=_positive,
        default=1,
        metavar="N",
        help="torch's threads; more than one can be slower on a shared machine (default: 1)",
    )
    run.set_defaults(verb=_run)
    example = verbs.add_parser("example", help="write an example workload and its recipes to start from")
    example.add_argument("out", type=Path, metavar="DIR")
    example.set_defaults(verb=_example)
    show = verbs.add_parser("show", help="print what is in a package, after checking it")
    show.add_argument("out", type=Path, metavar="DIR")
    show.set_defaults(verb=_show)
    more = (
        commands_search.add(verbs),
        commands_coverage.add(verbs),
        commands_onnx.add(verbs),
        commands_boards.add(verbs),
    )
    run.add_argument("--targets", type=Path, metavar="DIR", help=commands_boards.TARGETS_HELP)
    for each in (run, example, show, *more):
        each.epilog = EXIT_CODES
        each.add_argument("--json", action="store_true", help="print one JSON object on standard output instead")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is below 1")
    return number
