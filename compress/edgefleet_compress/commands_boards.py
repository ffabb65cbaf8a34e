"""`edgefleet compress boards`: what is known of each board, and what the agent runs on."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

TARGETS_HELP = "a folder with boards of your own, one .toml file each, added to those that are known"


def add(verbs: Any) -> argparse.ArgumentParser:
    """Add the verb to a parser and return its own."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        "boards", help="print boards, operating systems and Pythons, and what the agent runs on"
    )
    parser.add_argument("--targets", type=Path, metavar="DIR", help=TARGETS_HELP)
    parser.set_defaults(verb=_boards)
    return parser


def _boards(arguments: argparse.Namespace) -> int:
    from .targets import targets, use_folder

    if arguments.targets is not None:
        use_folder(arguments.targets)
    if arguments.json:
        print(json.dumps([asdict(target) for target in targets()]))
    else:
        print(support_table())
    return 0


def support_table() -> str:
    """Return the support table as Markdown: a row for each board and operating system."""
    from .targets import targets
    from .targets.systems import OPENS

    lines = [
        "| board | operating system | Python | newest onnxruntime, and what it opens | agent |",
        "|---|---|---|---|---|",
    ]
    for target in targets():
        for system in target.systems:
            opens = f"{system.runtime}: {OPENS[system.runtime]}" if system.runtime else "none"
            agent = f"compression only: {system.obstacle}" if system.obstacle else "runs"
            lines.append(f"| {target.name} | {system.name} | {system.python} | {opens} | {agent} |")
    return "\n".join(lines)
