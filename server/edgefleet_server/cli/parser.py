"""What the three commands share: help that lists exit codes, and errors that become them."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from edgefleet_protocol.errors import ProtocolError
from edgefleet_trust.errors import TrustError

from ..client import errors as api
from ..errors import BadConfig, BadRequest, NotAllowed, NotFound, Refused, ServerError
from .client import CA_VARIABLE, VARIABLE

EXIT_CODES = (
    "exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 not allowed, 5 refused by a rule, 6 timed out waiting, 7 server unreachable, "
    "130 interrupted"
)

CONFIG = Path("/etc/edgefleet-server/server.toml")

CODES: tuple[tuple[type[Exception], int], ...] = (
    (api.NoServer, 7),
    (api.NotThere, 3),
    (api.Denied, 4),
    (api.Conflict, 5),
    (api.BadRequest, 2),
    (api.ApiError, 1),
    (NotFound, 3),
    (NotAllowed, 4),
    (Refused, 5),
    (BadRequest, 2),
    (BadConfig, 2),
    (ServerError, 1),
    (ProtocolError, 2),
    (OSError, 1),
)
"""The first that fits."""

N = TypeVar("N", int, float)
Verb = Callable[[argparse.Namespace], int]


def new(noun: str, text: str) -> argparse.ArgumentParser:
    """Return the parser of a noun."""
    return argparse.ArgumentParser(prog=f"edgefleet {noun}", description=text, epilog=EXIT_CODES)


def remote(parser: argparse.ArgumentParser) -> None:
    """Add what every verb that asks a server takes."""
    parser.epilog = EXIT_CODES
    parser.add_argument("--server", metavar="URL", help=f"the server's address (default: {VARIABLE}, or this machine)")
    parser.add_argument(
        "--ca",
        type=Path,
        metavar="FILE",
        help=f"the authority of the server's certificate (default: {CA_VARIABLE}, or what the system knows)",
    )
    parser.add_argument("--json", action="store_true", help="print the server's answer as JSON")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the server's configuration; the default is where its unit looks too."""
    parser.add_argument("--config", type=Path, default=CONFIG, metavar="FILE", help=f"server.toml (default: {CONFIG})")


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a type for an option: a number from `low` to `high`."""
    return _within(float, "number", low, high)


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a type for an option: a whole number from `low` to `high`."""
    return _within(int, "whole number", low, high)


def _within(kind: Callable[[str], N], words: str, low: N, high: N) -> Callable[[str], N]:
    def convert(text: str) -> N:
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no {words}") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:g}")
        return value

    return convert


def process_number(text: str) -> int:
    """Return the number of a further ingest process; the server itself is the first."""
    if not text.isdecimal() or not 2 <= int(text) <= 99:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 2 to 99: the server itself is the first")
    return int(text)


def run(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    """Parse `argv`, do the verb, and return the exit code; an error is printed to standard error."""
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as error:  # argparse has printed why, or the help
        return int(error.code or 0)
    verb: Verb | None = getattr(arguments, "verb", None)
    if verb is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        return verb(arguments)
    except KeyboardInterrupt:
        return 130
    except TrustError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    except tuple(kind for kind, _ in CODES) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        if isinstance(error, api.NoServer):
            print(f"Start one with edgefleet server run, or name it with --server or {VARIABLE}.", file=sys.stderr)
        elif isinstance(error, api.ApiError) and error.next and not error.next.startswith("/api/"):
            # What is to be read of the API is for whoever writes requests.
            print(f"Next: {error.next}", file=sys.stderr)
        return next(code for kind, code in CODES if isinstance(error, kind))
