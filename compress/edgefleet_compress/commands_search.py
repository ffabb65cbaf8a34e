"""`edgefleet compress search`: which combination is best for a target, written as recipes to go on with."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .commands_boards import TARGETS_HELP

if TYPE_CHECKING:
    from .search.run import Found, Plan


def add(verbs: Any) -> argparse.ArgumentParser:
    """Add the verb; return its parser."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "search",
        help="try combinations of techniques for a target, and write the best as recipes",
        description="Tries many combinations with little training, the better ones with more, and writes those that none "
        "beats in validation, bytes and predicted time as a recipes file for `edgefleet compress run`.",
    )
    parser.add_argument("workload", type=Path, metavar="WORKLOAD", help="the Python file with model, data and metric")
    parser.add_argument("--target", required=True, metavar="NAME", help="a class of `edgefleet compress boards`: pi4")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the recipes file to write, .toml")
    parser.add_argument(
        "--recipes", type=Path, metavar="FILE", help="a recipes file whose [original] says how the original is trained"
    )
    parser.add_argument(
        "--trials", type=int, default=27, metavar="N", help="combinations in the first rung (default: 27)"
    )
    parser.add_argument(
        "--epochs", type=int, default=4, metavar="N", help="of each training in the last rung (default: 4)"
    )
    parser.add_argument(
        "--max-loss", type=float, default=1.0, metavar="POINTS", help="what validation may lose (default: 1.0)"
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="where finished steps are kept (default: beside --out)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything random (default: 0)")
    parser.add_argument("--targets", type=Path, metavar="DIR", help=TARGETS_HELP)
    parser.set_defaults(verb=_search)
    return parser


def _search(arguments: argparse.Namespace) -> int:
    import sys

    import torch

    from . import preflight, recipe, workload
    from .errors import RecipeError
    from .pipeline import Pipeline
    from .progress import for_this_terminal
    from .recipe import Recipe
    from .search.run import Plan, search
    from .search.space import steps_of
    from .search.written import recipes_text
    from .targets import targets, use_folder
    from .work import Work

    if arguments.trials < 1 or arguments.epochs < 1 or arguments.max_loss < 0:
        raise RecipeError("--trials and --epochs are 1 or more, and --max-loss is 0 or more")
    if arguments.targets is not None:
        use_folder(arguments.targets)
    target = next((row for row in targets() if row.name == arguments.target), None)
    if target is None:
        raise RecipeError(f"there is no target {arguments.target!r}; there are {', '.join(t.name for t in targets())}")
    torch.set_num_threads(1)
    original = recipe.load(arguments.recipes).original if arguments.recipes is not None else ()
    work = arguments.work or arguments.out.with_name(arguments.out.stem + "-work")
    preflight.check_places(arguments.out.with_suffix(".package"), work)
    loaded = workload.load(arguments.workload)
    plan = Plan(target, arguments.trials, arguments.epochs, arguments.max_loss)
    with for_this_terminal() as progress:
        pipeline = Pipeline(loaded, Work(work), progress, arguments.seed)
        found = search(pipeline, original, plan, lambda text: print(f"tried {text}", file=sys.stderr, flush=True))
    variants = [Recipe(row.point.name, steps_of(row.point, row.epochs)) for row in found.best]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(recipes_text(original, variants, _comment(found, plan, loaded.workload.name)))
    print(_document(found, arguments.out) if arguments.json else _table(found, plan, arguments.out), flush=True)
    return 0 if variants else 1


def _comment(found: "Found", plan: "Plan", model: str) -> str:
    return (
        f"Found by `edgefleet compress search` for {model} on {plan.target.name}: {len(found.tried)} trainings of combinations,\n"
        f"{len(found.failed)} could not be made. Each is beaten by no other in validation, bytes on the wire and predicted time.\n"
    )


def _document(found: "Found", out: Path) -> str:
    def rows(some: Any) -> list[dict[str, object]]:
        return [{"name": row.point.name, "epochs": row.epochs, **asdict(row.score)} for row in some]

    return json.dumps(
        {
            "recipes": str(out),
            "original": asdict(found.original),
            "best": rows(found.best),
            "tried": rows(found.tried),
            "failed": [{"name": row.point.name, "why": row.why} for row in found.failed],
        }
    )


def _table(found: "Found", plan: "Plan", out: Path) -> str:
    whole = found.original
    lines = [
        f"original: validation {whole.validation:.4f}, {whole.wire_bytes / 1000:.0f} kB, {1000 * whole.latency_s:.2f} ms",
        "",
        f"{'validation':>10}  {'change':>6}  {'on wire':>9}  {plan.target.name:>9}  combination",
    ]
    for row in found.best:
        change = 100 * (row.score.validation - whole.validation)
        lines.append(
            f"{row.score.validation:10.4f}  {change:+6.2f}  {row.score.wire_bytes / 1000:6.1f} kB  "
            f"{1000 * row.score.latency_s:6.2f} ms  {row.point.name}"
        )
    if not found.best:
        lines.append(
            f"nothing stayed within {plan.max_loss_points:g} points of the original: allow more with --max-loss, or --epochs"
        )
    lines.append(f"\nwrote {out}\nnext:  edgefleet compress run WORKLOAD --recipes {out} --out DIR")
    return "\n".join(lines)
