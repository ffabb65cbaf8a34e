"""`edgefleet compress onnx FILE`: from a model file and inputs without labels to a package."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .errors import RoadRefused

DESCRIPTION = (
    "For a team that has an ONNX file and no training code. Everything is done that needs no training: the file is brought "
    "into form, ranges are measured on the inputs, ways of quantizing are tried from the boldest to the most careful, and "
    "each is held against the original. What is reported is agreement with the original, not accuracy."
)


def add(verbs: Any) -> argparse.ArgumentParser:
    """Add the verb to a parser and return its own."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "onnx", help="make a package of an ONNX file and inputs without labels", description=DESCRIPTION
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the ONNX file, in floating point")
    parser.add_argument(
        "--inputs",
        type=Path,
        metavar="PATH",
        help="an .npz with one array for each input, whose first dimension counts samples, or a folder of .npz or .npy files, "
        "one sample each, or with a folder of .npy files for each input; without it, inputs are made up from what the BatchNorms of the file say",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the package goes (default: FILE-package)")
    parser.add_argument(
        "--name", default="", metavar="NAME", help="the model's name in the fleet (default: of the file)"
    )
    parser.add_argument(
        "--fix",
        action="append",
        default=[],
        metavar="INPUT=VALUE",
        help="an input that is always this; may be repeated",
    )
    parser.add_argument(
        "--error", type=float, default=0.15, metavar="E", help="relative error allowed of every output (default: 0.15)"
    )
    parser.add_argument(
        "--groups",
        type=int,
        default=8,
        metavar="N",
        help="how finely nodes are looked at when some must stay in float: more takes longer and leaves fewer (default: 8)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of inputs that are made up (default: 0)")
    parser.set_defaults(verb=_onnx)
    return parser


def _onnx(arguments: argparse.Namespace) -> int:
    from .package.variants import check_place
    from .road.run import Settings, travel, write

    if not arguments.file.is_file():
        print(f"edgefleet compress: there is no file {arguments.file}", file=sys.stderr)
        return 3
    arguments.out = arguments.out or arguments.file.with_name(arguments.file.stem + "-package")
    check_place(arguments.out)
    settings = Settings(
        arguments.inputs,
        arguments.name,
        _fixed(arguments.fix),
        arguments.error,
        max(arguments.groups, 1),
        arguments.seed,
    )
    done = travel(arguments.file, settings, lambda words: print(f"  {words}", file=sys.stderr, flush=True))
    write(arguments.out, done, arguments.seed)
    variants = {variant.name: variant for variant in done.packed.release.variants}
    found = done.packed.tables["int8"]
    summary = {
        "model": done.packed.release.model,
        "package": str(arguments.out),
        "way": done.found.way.words if done.found.way is not None else "",
        "bytes": {name: variant.bytes for name, variant in variants.items()},
        "agreement": {entry.output: {"how": entry.how, "value": entry.value} for entry in done.agreements},
        "samples": variants["int8"].accuracy.samples,
        "coverage": {"int8": found.int8, "all": found.all, "quantizers_left": found.quantizers_left},
        "left_float": list(done.left_float),
        "notes": list(done.opened.notes),
        "warnings": list(done.warnings),
        "tried": list(done.found.tried),
    }
    for warning in done.warnings:
        print(f"WARNING: {warning}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(summary))
        return 0
    small, large = variants["int8"].bytes, variants["fp32"].bytes
    print(f"{done.packed.release.model}: {summary['way']}")
    print(f"  {large / 1000:.1f} kB -> {small / 1000:.1f} kB ({large / small:.1f} times smaller), {found.words}")
    print(f"  agreement with the original on {summary['samples']} inputs, which is not accuracy:")
    for entry in done.agreements:
        print(f"    {entry.words}")
    for words in done.left_float:
        print(f"  float: {words}")
    print(
        f"\nreport: {arguments.out / 'report.html'}\nnext:   edgefleet release propose {arguments.out} --repository …"
    )
    return 0


def _fixed(entries: list[str]) -> dict[str, float]:
    found = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise RoadRefused(f"--fix {entry}: write INPUT=NUMBER") from error
    return found
