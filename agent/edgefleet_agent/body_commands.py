"""`edgefleet agent check` and `diag`: for whoever stands before a device that does not do what it should."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

from .config import Config


def add_verbs(add: Callable[[str, Callable[[Config, argparse.Namespace], int], str], argparse.ArgumentParser]) -> None:
    """Add both verbs. add(verb, do, words) makes a parser that has `--config` and `--json`."""
    add("check", _check, "look at clock, disk, broker, runtime, limits and sensors; 1 when something is in the way")
    diag = add("diag", _diag, "write a bundle for whoever helps: state, log, settings, and no key or token")
    diag.add_argument(
        "--out", type=Path, default=Path("edgefleet-diag.tar.gz"), metavar="FILE",
        help="where it goes; - for standard output (edgefleet-diag.tar.gz, here)",
    )  # fmt: skip


def _check(config: Config, arguments: argparse.Namespace) -> int:
    from .check import exit_code, findings, words

    found = findings(config)
    print(json.dumps([dataclasses.asdict(row) for row in found]) if arguments.json else words(found).rstrip())
    return exit_code(found)


def _diag(config: Config, arguments: argparse.Namespace) -> int:
    from .bundle import bundle

    data = bundle(config)
    if str(arguments.out) == "-":
        sys.stdout.buffer.write(data)
        return 0
    arguments.out.write_bytes(data)
    arguments.out.chmod(0o640)
    row = {"file": str(arguments.out), "bytes": len(data)}
    print(json.dumps(row) if arguments.json else f"{arguments.out}: {len(data)} bytes, no keys and no tokens in it")
    return 0
