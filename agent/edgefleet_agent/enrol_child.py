"""`python -m edgefleet_agent.enrol_child`: one try to enrol or to renew, one line of JSON as its answer.

A process of its own: the control agent never waits for a network here, and never carries the cryptography.
"""

import argparse
import json
import sys
from datetime import datetime, timezone
from pathlib import Path

from . import enrol_seed
from .enrol import Board, enrol, renew
from .enrol_http import NotYet, TurnedAway, Unreachable
from .errors import AgentError


def main(argv: list[str]) -> int:
    """Try once; print `{"outcome", "words", "after_s"}`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=("enrol", "renew"))
    parser.add_argument("state", type=Path)
    parser.add_argument("--root", type=Path, default=Path("/"))
    parser.add_argument("--machine")
    parser.add_argument("--now", type=float, default=0.0, help="seconds since 1970")
    arguments = parser.parse_args(argv)
    print(json.dumps(_try(arguments)))
    return 0


def _try(arguments: argparse.Namespace) -> dict[str, object]:
    try:
        if arguments.verb == "renew":
            left = renew(arguments.state, datetime.fromtimestamp(arguments.now, timezone.utc))
            return _row("done", "", left.total_seconds())
        seed = enrol_seed.load(arguments.state)
        if seed is None:
            return _row("failed", "there is nothing to enrol by", 0.0)
        told = enrol(arguments.state, seed, Board(arguments.root, arguments.machine))
        return _row("done", f"enrolled as {told.device} of fleet {told.fleet}", 0.0)
    except NotYet as error:
        return _row("later", str(error), error.after_s)
    except Unreachable as error:
        return _row("unreachable", str(error), 0.0)
    except TurnedAway as error:
        return _row("refused", str(error), 0.0)
    except (AgentError, OSError) as error:
        return _row("failed", str(error), 0.0)


def _row(outcome: str, words: str, after_s: float) -> dict[str, object]:
    return {"outcome": outcome, "words": words, "after_s": after_s}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
