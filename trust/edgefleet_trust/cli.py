"""What both commands share: how an error becomes a message and an exit code, and how answers are printed."""

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from edgefleet_protocol.errors import ProtocolError

from .errors import TrustError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

EXIT_CODES = "exit codes: 0 done, 1 failed, 2 usage, 3 not found, 5 refused by a rule, 130 interrupted"

Verb = Callable[[Namespace], int]


def run(parser: ArgumentParser, argv: list[str]) -> int:
    """Run the verb that `argv` names; return its exit code. Errors of ours are one message, not a traceback."""
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:  # argparse has printed its message
        return USAGE if end.code else DONE
    verb: Verb = arguments.verb
    try:
        return verb(arguments)
    except TrustError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    except (ProtocolError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def say(arguments: Namespace, answer: dict[str, Any], lines: Iterable[str]) -> None:
    """Print `answer` as JSON where --json was asked for, else `lines`."""
    text = json.dumps(answer, indent=1) if arguments.json else "\n".join(lines)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has read enough. Python would complain once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def utc_now() -> datetime:
    """Return the time; the only clock of this part."""
    return datetime.now(UTC)
