"""`edgefleet server admin new` and `edgefleet server token new|list|revoke`.

They work on the database itself, on the server's machine: whoever can write it needs no token to make one. There is no
default password, and no token is ever shown twice.
"""

import argparse
import json
import sys
import time
from typing import get_args

import msgspec

from edgefleet_protocol.names import check_label

from ..api.rights import Role
from ..config import ServerConfig, load
from ..errors import NotFound
from ..store import audit, tokens
from ..store.beside import beside
from . import parser
from .output import as_json, table

DAY_S = 86400.0
ADMIN_DAYS, TOKEN_DAYS, MOST_DAYS = 90, 90, 400
ACTOR = "a person on the server's machine"


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the nouns to `edgefleet server`."""
    admin = verbs.add_parser("admin", help="make the first one who may do everything")
    nouns = admin.add_subparsers(metavar="VERB", required=True)
    one = nouns.add_parser("new", help="a token for everything, in every region; it is printed once")
    _common(one)
    _new_options(one, ADMIN_DAYS)
    one.set_defaults(verb=_new, role="admin", region=[])
    token = verbs.add_parser("token", help="who may use the API, and for what")
    nouns = token.add_subparsers(metavar="VERB", required=True)
    one = nouns.add_parser("new", help="a token with a role; it is printed once")
    _common(one)
    _new_options(one, TOKEN_DAYS)
    one.add_argument("--role", required=True, choices=get_args(Role), help="what each may do: docs/reference/rights.md")
    one.add_argument(
        "--region", action="append", default=[], help="only there; may be repeated (default: every region)"
    )
    one.set_defaults(verb=_new)
    one = nouns.add_parser("list", help="every token, without its secret")
    _common(one)
    one.set_defaults(verb=_list)
    one = nouns.add_parser("revoke", help="end a token at once")
    _common(one)
    one.add_argument("id", help="as `token list` shows it")
    one.set_defaults(verb=_revoke)


def _common(one: argparse.ArgumentParser) -> None:
    one.epilog = parser.EXIT_CODES
    parser.add_config(one)
    one.add_argument("--json", action="store_true", help="print JSON")


def _new_options(one: argparse.ArgumentParser, days: int) -> None:
    one.add_argument("name", help="of the person or program: it stands in the audit beside every deed")
    one.add_argument(
        "--days",
        type=parser.number(0.01, MOST_DAYS),
        default=days,
        help=f"how long it is good (default: {days}, at most {MOST_DAYS})",
    )


def _new(arguments: argparse.Namespace) -> int:
    config, now = load(arguments.config), time.time()
    check_label("token", arguments.name)
    regions = frozenset(arguments.region) or None
    _check_regions(config, regions)
    with beside(config.place) as connection:
        token, secret = tokens.new(connection, arguments.name, arguments.role, regions, now, arguments.days * DAY_S)
        said = f"{token.id}: {token.role} {_regions(token)}, {arguments.days:g} days"
        audit.add(connection, audit.AuditRow(now, ACTOR, "token.new", None, token.name, said))
    if arguments.json:
        print(json.dumps({**msgspec.to_builtins(token), "token": secret}))
        return 0
    print(secret)
    print(
        f"That is the token of {token.name} ({token.role}, {_regions(token)}, {arguments.days:g} days), and it is not shown "
        f"again. Put it into a file with mode 600 and name the file in EDGEFLEET_TOKEN_FILE. "
        f"To end it: edgefleet server token revoke {token.id} --config {arguments.config}",
        file=sys.stderr,
    )
    return 0


def _check_regions(config: ServerConfig, regions: frozenset[str] | None) -> None:
    if regions is None:
        return
    from edgefleet_trust.repository import Repository

    known = Repository(config.repository).regions()
    if wrong := sorted(regions - set(known)):
        raise NotFound(f"there is no region {wrong[0]}. There are: {', '.join(known)}")


def _list(arguments: argparse.Namespace) -> int:
    now = time.time()
    with beside(load(arguments.config).place) as connection:
        rows = tokens.every(connection)
    if arguments.json:
        print(as_json([msgspec.to_builtins(row) for row in rows]))
    elif not rows:
        print("There is no token yet. Make the first: edgefleet server admin new NAME --config server.toml")
    else:
        cells = [(row.id, row.name, row.role, _regions(row), _standing(row, now)) for row in rows]
        print(table(("id", "name", "role", "regions", "is"), cells))
    return 0


def _revoke(arguments: argparse.Namespace) -> int:
    now = time.time()
    with beside(load(arguments.config).place) as connection:
        token = tokens.revoke(connection, arguments.id, now)
        if token is None:
            raise NotFound(f"there is no token {arguments.id}. See: edgefleet server token list")
        audit.add(connection, audit.AuditRow(now, ACTOR, "token.revoke", None, token.name, token.id))
    if arguments.json:
        print(json.dumps({"id": token.id, "name": token.name}))
    else:
        print(f"token {token.id} of {token.name} is good for nothing from now on")
    return 0


def _regions(token: tokens.Token) -> str:
    return "every region" if token.regions is None else ", ".join(sorted(token.regions))


def _standing(token: tokens.Token, now: float) -> str:
    return token.ended(now) or f"good for {(token.expires_s - now) / DAY_S:.0f} days"
