"""`edgefleet rollout watch`: follow a rollout until it ends, over the live stream, or by asking where there is none."""

import argparse
import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from ..client.api import part
from ..client.errors import ApiError, NotThere
from . import parser
from .client import Client
from .output import clean

ENDED = {"complete": 0, "gone-back": 1, "superseded": 1}
ASK_EVERY_S = 2.0
"""Without a stream."""
LOOK_EVERY_S = 5.0
"""With one too: counts change without a word of the rollout's own."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb to `edgefleet rollout`."""
    text = "follow a rollout until it ends; exit 0 only when it is complete"
    one = verbs.add_parser("watch", help=text, description=text)
    one.add_argument("rollout", help="its number, or a region with one rollout")
    one.add_argument("--model", help="where a region has rollouts of several")
    one.add_argument(
        "--timeout",
        type=parser.number(0, 365 * 86400),
        metavar="SECONDS",
        help="exit with 6 when it has not ended by then",
    )
    parser.remote(one)
    one.set_defaults(verb=_watch)


def _watch(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    row = _find(client, arguments.rollout, arguments.model)
    path = f"/api/v1/rollouts/{part(row['region'])}/{row['id']}"
    until = None if arguments.timeout is None else time.monotonic() + arguments.timeout
    shown = None
    for _ in _moments(arguments, row["region"], until):
        row = client.get(path)
        if (key := _key(row)) != shown:
            shown = key
            print(_line(row, arguments.json), flush=True)
        if row["status"] in ENDED:
            return ENDED[row["status"]]
    return 6


def _find(client: Client, name: str, model: str | None) -> dict[str, Any]:
    if name.isascii() and name.isdigit():
        found = [row for row in client.rows("/api/v1/rollouts", past=True) if row["id"] == int(name)]
        if not found:
            raise NotThere(f"there is no rollout {name}. See: edgefleet rollout list --past")
    else:
        rows = client.get(f"/api/v1/rollouts/{part(name)}")["items"]
        found = [row for row in rows if model in (None, row["model"])]
        if len(found) != 1:
            models = ", ".join(row["model"] for row in rows) or "none"
            raise NotThere(f"{name} has rollouts of {models}: name one with --model, or its number")
    one: dict[str, Any] = found[0]
    return one


def _moments(arguments: argparse.Namespace, region: str, until: float | None) -> Iterator[None]:
    """Yield whenever the rollout may have changed, until the time is up."""
    yield None
    while (left := LOOK_EVERY_S if until is None else min(LOOK_EVERY_S, until - time.monotonic())) > 0:
        try:
            # A connection of its own: an answer cannot come on the one that streams. It ends, to look all the same.
            stream = Client(arguments.server, arguments.ca).live(region, seconds=left)
            for message in stream:
                if message.event in ("ready", "reset", "rollout", "gone", "region"):
                    yield None
        except ApiError:  # a proxy that cuts streams, or too many watch: then it is asked
            time.sleep(min(ASK_EVERY_S, left))
        yield None


def _key(row: dict[str, Any]) -> tuple[object, ...]:
    return row["status"], row["stage"], row["why"], tuple((row["counts"] or {}).items()), len(row["moves"])


def _line(row: dict[str, Any], as_json: bool) -> str:
    if as_json:
        return json.dumps({name: value for name, value in row.items() if name not in ("evidence", "policy", "moves")})
    counts = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in row["counts"].items() if value)
    stage = f"stage {row['stage'] + 1}/{len(row['stages'])} ({row['stages'][row['stage']]['percent']:.4g} %)"
    words = [f"{row['release']} in {row['region']} {row['status']}", stage, counts, clean(row["why"])]
    return f"{datetime.now():%H:%M:%S} " + "; ".join(word for word in words if word)
