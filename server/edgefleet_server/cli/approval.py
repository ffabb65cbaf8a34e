"""`edgefleet device waiting|approve|reject`: the queue of devices that came with a token that asks for a yes."""

import argparse
import time
from typing import Any

from ..config import load
from ..errors import NotFound, Refused
from ..identity.words import moment
from ..store import audit, enrolments
from ..store.beside import beside
from ..store.enrolments import Status
from . import parser
from .enrol_token import WHO
from .output import as_json, table

Verbs = Any


def add(verbs: Verbs) -> None:
    """Add the verbs to `edgefleet device`."""
    one = _verb(verbs, "waiting", "devices that wait to be let in; on the server's machine", _waiting)
    for name, words, do in (
        ("approve", "let a device in that waits; on the server's machine", _approve),
        ("reject", "turn a device away that waits; on the server's machine", _reject),
    ):
        one = _verb(verbs, name, words, do)
        one.add_argument("device")
        one.add_argument(
            "--key", metavar="HEX", help="only if its key begins so: compare it with what the device prints"
        )


def _verb(verbs: Verbs, name: str, words: str, do: Any) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = verbs.add_parser(name, help=words)
    parser.add_config(one)
    one.add_argument("--json", action="store_true", help="JSON instead of words for people")
    one.set_defaults(verb=do)
    return one


def _waiting(arguments: argparse.Namespace) -> int:
    with beside(load(arguments.config).place) as connection:
        found = enrolments.waiting(connection)
    if arguments.json:
        print(as_json([vars(row) for row in found]))
    elif not found:
        print("Nobody waits.")
    else:
        lines = [
            (row.device, row.region, row.hardware_serial, row.public_key[:16], moment(row.first_s), row.token)
            for row in found
        ]
        print(table(("device", "region", "board", "key", "since", "token"), lines))
    return 0


def _approve(arguments: argparse.Namespace) -> int:
    return _judge(arguments, "approved", "is let in as soon as it asks again")


def _reject(arguments: argparse.Namespace) -> int:
    return _judge(arguments, "rejected", "is turned away")


def _judge(arguments: argparse.Namespace, status: Status, words: str) -> int:
    now = time.time()
    with beside(load(arguments.config).place) as connection:
        found = enrolments.waiting(connection, arguments.device)
        if not found:
            raise NotFound(f"no device {arguments.device} waits: edgefleet device waiting shows those that do")
        row = found[0]
        if arguments.key and not row.public_key.startswith(arguments.key.lower()):
            raise Refused(f"the key of {row.device} begins with {row.public_key[:16]}, and not with {arguments.key}")
        enrolments.judge(connection, row, status)
        deed = audit.AuditRow(now, WHO, f"device.{status}", row.region, row.device, f"key {row.public_key[:16]}")
        audit.add(connection, deed)
    print(as_json({"device": row.device, "status": status}) if arguments.json else f"{row.device} {words}")
    return 0
