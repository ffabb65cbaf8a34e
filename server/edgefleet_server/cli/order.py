"""`edgefleet device command|clear-alarm`."""

import argparse
import sys
import time
from typing import Any

from edgefleet_protocol.messages import MAX_COMMAND_S

from ..client.api import part
from ..errors import BadRequest
from . import parser
from .client import Client
from .output import as_json, clean

LOOK_EVERY_S = 0.3


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to `edgefleet device`."""
    one = verbs.add_parser("command", help="have a device do something at once: ping, diagnose, restart, retry")
    one.add_argument("device")
    one.add_argument("action", help="ping; diagnose; restart (model=M); retry (model=M, release=R)")
    one.add_argument("arguments", nargs="*", metavar="NAME=VALUE", help="what the action takes")
    one.add_argument(
        "--life",
        type=parser.number(1, MAX_COMMAND_S),
        default=60.0,
        metavar="SECONDS",
        help="after it no device obeys the command (default: 60)",
    )
    one.add_argument("--wait", action="store_true", help="wait for the answer; exit 0 only if the device did it")
    parser.remote(one)
    one.set_defaults(verb=_command)
    one = verbs.add_parser("clear-alarm", help="take a device out of quarantine, once only one copy of it is left")
    one.add_argument("device")
    one.add_argument("--why", default="", help="kept with the deed")
    parser.remote(one)
    one.set_defaults(verb=_clear)


def _command(arguments: argparse.Namespace) -> int:
    pairs = [text.partition("=") for text in arguments.arguments]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise BadRequest(f"{wrong[0]!r} is no argument: write NAME=VALUE, as in model=fashion")
    client = Client(arguments.server, arguments.ca)
    path = f"/api/v1/devices/{part(arguments.device)}/commands"
    body = {
        "action": arguments.action,
        "arguments": {name: value for name, _, value in pairs},
        "life_s": arguments.life,
    }
    row = client.post(path, body)
    while arguments.wait and row["status"] in ("waiting", "working"):
        time.sleep(LOOK_EVERY_S)
        row = client.get(f"{path}/{row['id']}")
    if arguments.json:
        print(as_json(row))
    else:
        _print(row)
    return 1 if row["status"] in ("failed", "expired") else 0


def _print(row: dict[str, Any]) -> None:
    if row["status"] in ("waiting", "working"):
        print(f"command {row['id']} is sent; its answer: edgefleet device result {row['device']} {row['id']}")
    elif row["status"] == "expired":
        print(f"{row['device']} did not answer while the command lived: is it online?", file=sys.stderr)
    else:
        for text in (row["text"], *row["facts"].values()):
            print("\n".join(clean(line) if line else "" for line in str(text).splitlines()))


def _clear(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    row = client.post(f"/api/v1/devices/{part(arguments.device)}/clear-alarm", {"why": arguments.why})
    print(as_json(row) if arguments.json else f"{row['id']} is out of quarantine")
    return 0
