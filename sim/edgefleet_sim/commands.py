"""`edgefleet sim`: many virtual devices against a real broker and server."""

import argparse
import json
import sys
from collections.abc import Callable

from .ending import end_on_sigterm
from .files import open_all_files
from .run import Outcome, run
from .scenarios import SCENARIOS, named
from .world import NoMosquitto

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
MAX_DEVICES = 18_000
"""One open connection each, within what a process may open."""
MAX_TIMEOUT_S = 7 * 86400.0


def main(argv: list[str]) -> int:
    """Run the verb that `argv` names; return its exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.verb == "list":
        for scenario in SCENARIOS:
            print(f"{scenario.name:<16} {scenario.about}")
        return DONE
    try:
        scenario = named(arguments.scenario)
    except KeyError as error:
        print(f"edgefleet sim: {error.args[0]}", file=sys.stderr)
        return USAGE
    if not 1 <= arguments.devices <= MAX_DEVICES:
        print(f"edgefleet sim: --devices is {arguments.devices}; from 1 to {MAX_DEVICES} can be", file=sys.stderr)
        return USAGE
    if not 0 < arguments.timeout <= MAX_TIMEOUT_S:
        print(
            f"edgefleet sim: --timeout is {arguments.timeout:g}; above 0 and up to {MAX_TIMEOUT_S:g} can be",
            file=sys.stderr,
        )
        return USAGE
    open_all_files()
    end_on_sigterm()
    try:
        outcome = run(scenario, arguments.devices, _say(arguments.quiet), arguments.timeout)
    except NoMosquitto as error:
        print(f"edgefleet sim: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("edgefleet sim: stopped", file=sys.stderr)
        return INTERRUPTED
    if not arguments.json:
        print_table(outcome)
    print(json.dumps(outcome.document()))
    return DONE if outcome.held else FAILED


def print_table(outcome: Outcome) -> None:
    """Print what had to be true, for people."""
    for what, held, words in outcome.checks:
        print(f"{'ok  ' if held else 'NOT '} {what}: {words}")
    for name, value in outcome.figures.items():
        print(f"     {name} {value:.1f}")


def _say(quiet: bool) -> Callable[[str], None]:
    def say(words: str) -> None:
        if not quiet:
            print(words[:200], file=sys.stderr, flush=True)

    return say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edgefleet sim", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("run", help="run a scenario; 0 only when everything that must be true was")
    one.add_argument("--devices", type=int, default=100, help="how many (default 100)")
    one.add_argument("--scenario", default="calm", help="one of `edgefleet sim list` (default calm)")
    one.add_argument("--timeout", type=float, default=600.0, help="seconds that any one step may take (default 600)")
    one.add_argument("--json", action="store_true", help="one JSON line and nothing else on standard output")
    one.add_argument("--quiet", action="store_true", help="no progress on standard error")
    verbs.add_parser("list", help="the scenarios that there are")
    return parser
