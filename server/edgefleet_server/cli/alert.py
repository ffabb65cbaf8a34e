"""`edgefleet alert list|show|ack|silence`."""

import argparse
import re
from typing import Any

from ..errors import BadRequest
from . import parser
from .client import Client
from .output import ago, as_json, clean, table

UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def main(argv: list[str]) -> int:
    """Run `edgefleet alert …`; return its exit code."""
    top = parser.new("alert", "What needs a person: open alerts, why, and what to do next.")
    verbs = top.add_subparsers(metavar="VERB")
    one = verbs.add_parser("list", help="what is open, newest first")
    one.add_argument("--past", action="store_true", help="also what was resolved")
    parser.remote(one)
    one.set_defaults(verb=_list)
    one = verbs.add_parser("show", help="one alert with all that it is about, its evidence and the next step")
    one.add_argument("id", type=int)
    parser.remote(one)
    one.set_defaults(verb=_show)
    one = verbs.add_parser("ack", help="say that you have it in hand")
    one.add_argument("id", type=int)
    one.add_argument("--why", default="", help="kept in the audit")
    parser.remote(one)
    one.set_defaults(verb=_ack)
    one = verbs.add_parser("silence", help="have nobody told of it for a while")
    one.add_argument("id", type=int)
    one.add_argument("--for", dest="span", default="1h", metavar="TIME", help="as 30m, 4h or 2d (default: 1h)")
    one.add_argument("--why", default="", help="kept in the audit")
    parser.remote(one)
    one.set_defaults(verb=_silence)
    return parser.run(top, argv)


def seconds(text: str) -> float:
    """Return the seconds of `30m`, `4h`, `2d`; raise BadRequest."""
    match = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if match is None:
        raise BadRequest(f"{text!r} is no time: write it as 30m, 4h or 2d")
    return int(match[1]) * UNITS[match[2]]


def _list(arguments: argparse.Namespace) -> int:
    client = Client(arguments.server, arguments.ca)
    rows = client.rows("/api/v1/alerts", past=arguments.past)
    if arguments.json:
        print(as_json(rows))
    elif not rows:
        print("Nothing needs a person now.")
    else:
        now = client.get("/healthz")["now_s"]
        cells = [
            (row["id"], row["status"], row["severity"], row["region"], ago(now, row["opened_s"]), row["text"])
            for row in rows
        ]
        print(table(("id", "is", "severity", "region", "opened", "what"), cells))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    row = Client(arguments.server, arguments.ca).get(f"/api/v1/alerts/{arguments.id}")
    print(as_json(row) if arguments.json else _words(row))
    return 0


def _ack(arguments: argparse.Namespace) -> int:
    row = Client(arguments.server, arguments.ca).post(
        f"/api/v1/alerts/{arguments.id}/acknowledge", {"why": arguments.why}
    )
    print(as_json(row) if arguments.json else f"alert {row['id']} is yours: {clean(row['next'])}")
    return 0


def _silence(arguments: argparse.Namespace) -> int:
    body = {"seconds": seconds(arguments.span), "why": arguments.why}
    row = Client(arguments.server, arguments.ca).post(f"/api/v1/alerts/{arguments.id}/silence", body)
    print(as_json(row) if arguments.json else f"nobody is told of alert {row['id']} for {arguments.span}")
    return 0


def _words(row: dict[str, Any]) -> str:
    lines = [
        f"alert {row['id']}: {row['rule']}, {row['severity']}, {row['status']}",
        row["text"],
        f"evidence: GET {row['evidence']}",
        f"next: {row['next']}",
    ]
    if row["acknowledged_by"]:
        lines.append(f"in hand of {row['acknowledged_by']}")
    if row["silenced_by"]:
        lines.append(f"silenced by {row['silenced_by']}")
    if row["count"] > 1:
        lines.append(f"{row['count']} in all: {', '.join(row['subjects'])}")
    return "\n".join(clean(line) for line in lines)
