"""`edgefleet device logs|diag|benchmark|restart|rollback|pin|unpin|result`: remote hands, on one device or on many."""

import argparse
import re
import sys
import time
from typing import Any

from ..client.api import part
from ..command_check import MOST_LINES
from ..errors import BadRequest
from . import parser
from .client import Client
from .group import choose, chosen
from .output import ago, as_json, clean, table

LOOK_EVERY_S = 0.3
UNITS = {"m": 60, "h": 3600, "d": 86400}

VERBS = (
    ("logs", "the last lines of the agent's log"),
    ("diag", "everything that the agent knows, without secrets"),
    ("benchmark", "measure what serves once more, in a worker beside it"),
    ("restart", "start the worker of what serves anew"),
    ("rollback", "go back to the release that was proven before, for a while"),
    ("pin", "keep a release that was verified there, whatever is rolled out, for a while"),
    ("unpin", "end a pin or a rollback: rollouts decide again"),
)


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to `edgefleet device`."""
    for name, text in VERBS:
        one = verbs.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}. Signed, numbered, short-lived."
        )
        choose(one)
        if name not in ("logs", "diag"):
            one.add_argument("--model", help="where a device has several")
        if name == "logs":
            one.add_argument(
                "--lines",
                type=parser.whole(1, MOST_LINES),
                default=200,
                metavar="N",
                help=f"default: 200; at most {MOST_LINES} are kept",
            )
        if name == "pin":
            one.add_argument("--release", metavar="MODEL/NUMBER", help="default: what serves")
        if name in ("pin", "rollback"):
            one.add_argument("--for", dest="span", default="7d", metavar="TIME", help="as 30m, 8h or 7d (default: 7d)")
        one.add_argument(
            "--life",
            type=parser.number(1, 300),
            default=60.0,
            metavar="SECONDS",
            help="after it no device obeys (default: 60)",
        )
        one.add_argument("--no-wait", action="store_true", help="do not wait for the answers")
        one.add_argument(
            "--timeout",
            type=parser.number(1, 7200),
            default=300.0,
            metavar="SECONDS",
            help="of the waiting (default: 300)",
        )
        parser.remote(one)
        one.set_defaults(verb=_order, action=name)
    one = verbs.add_parser("result", help="what a device answered to a command; the last one, unless a number is given")
    one.add_argument("device")
    one.add_argument("number", nargs="?", type=int, help="of the command; without it, the last ones are listed")
    parser.remote(one)
    one.set_defaults(verb=_result)


def seconds(text: str) -> int:
    """Return the seconds of `30m`, `8h`, `7d`; raise BadRequest."""
    found = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if found is None:
        raise BadRequest(f"{text!r} is no time: write it as 30m, 8h or 7d")
    return int(found[1]) * UNITS[found[2]]


def _order(arguments: argparse.Namespace) -> int:
    given = {name: getattr(arguments, name, None) for name in ("model", "release", "lines")}
    values = {name: str(value) for name, value in given.items() if value is not None}
    if getattr(arguments, "span", None):
        values["for_s"] = str(seconds(arguments.span))
    body = {**chosen(arguments), "action": arguments.action, "arguments": values, "life_s": arguments.life}
    client = Client(arguments.server, arguments.ca)
    answer = client.post("/v1/commands", body)
    end, late = time.monotonic() + arguments.timeout, False
    rows = answer["sent"]
    while not arguments.no_wait and any(row["status"] in ("waiting", "working") for row in rows):
        if time.monotonic() >= end:
            late = True
            break
        time.sleep(LOOK_EVERY_S)
        rows = [_look(client, row) for row in rows]
    rows = [_whole(client, row) if row["data_bytes"] else row for row in rows]
    if arguments.json:
        print(as_json({"sent": rows, "refused": answer["refused"]}))
    elif len(rows) == 1 and not answer["refused"]:
        _print(rows[0])
    else:
        lines = [(row["device"], row["status"], row["text"]) for row in rows]
        lines += [(row["device"], "not sent", row["why"]) for row in answer["refused"]]
        print(table(("device", "", "answer"), lines))
    if late:
        print("Not every answer came in time: edgefleet device result DEVICE shows what comes later.", file=sys.stderr)
        return 6
    failed = any(row["status"] in ("failed", "expired") for row in rows)
    return 1 if failed or answer["refused"] else 0


def _look(client: Client, row: dict[str, Any]) -> dict[str, Any]:
    if row["status"] not in ("waiting", "working"):
        return row
    found: dict[str, Any] = client.get(f"/v1/devices/{part(row['device'])}/commands/{row['id']}")
    return found


def _whole(client: Client, row: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/devices/{part(row['device'])}/commands/{row['id']}/answer")
    return found


def _print(row: dict[str, Any]) -> None:
    if row["status"] in ("waiting", "working"):
        print(f"command {row['id']} is sent; its answer: edgefleet device result {row['device']} {row['id']}")
    elif row["status"] == "expired":
        print(f"{row['device']} did not answer while the command lived: is it online?", file=sys.stderr)
    else:
        texts = [row["answer"]] if row.get("answer") else [row["text"], *(f"{k}: {v}" for k, v in row["facts"].items())]
        for text in texts:
            print("\n".join(clean(line) if line else "" for line in str(text).splitlines()))


def _result(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    path = f"/v1/devices/{part(arguments.device)}/commands"
    if arguments.number is not None:
        row = client.get(f"{path}/{arguments.number}/answer")
        print(as_json(row)) if arguments.json else _print(row)
        return 0
    answer = client.get(path, limit=20)
    rows = answer["items"] if isinstance(answer, dict) else answer
    if arguments.json:
        print(as_json(rows))
        return 0
    now_s = client.get("/healthz")["now_s"]
    lines = [
        (row["id"], row["action"], row["actor"], ago(now_s, row["sent_s"]), row["status"], row["text"]) for row in rows
    ]
    print(table(("number", "action", "by", "sent", "", "answer"), lines) if lines else "No command was sent to it yet.")
    return 0
