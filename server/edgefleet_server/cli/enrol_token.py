"""`edgefleet server enrol-token new|list|revoke`: what lets devices in. Works beside a running server."""

import argparse
import csv
import io
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgefleet_protocol.names import check_label
from edgefleet_trust.files import open_regular
from edgefleet_trust.repository import Repository

from ..config import load
from ..errors import BadRequest, NotFound
from ..identity import tokens
from ..identity.authority import fingerprint, read_ca
from ..identity.csr import check_device_id, check_serial
from ..identity.refusal import TurnedAway
from ..identity.tokens import LIFE_S, Allowed, Token
from ..identity.words import moment
from ..store import audit, enrol_tokens, enrolments
from ..store.beside import beside
from . import parser
from .identity import identity_of
from .output import as_json, table

Verbs = Any
WHO = "a person on this machine"
MAX_CAP, MAX_LIFE_S = 1_000_000, 400 * 86400.0
UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def add(verbs: Verbs) -> None:
    """Add the noun `enrol-token` to `edgefleet server`."""
    noun = verbs.add_parser(
        "enrol-token",
        help="one-time tokens that let devices in: new, list, revoke",
        description="One-time tokens that let devices in. Works on the database, beside a running server.",
        epilog=parser.EXIT_CODES,
    )
    mine = noun.add_subparsers(metavar="VERB", required=True)
    one = _verb(mine, "new", "make a token, and print it: it is shown this once", _new)
    one.add_argument("--region", required=True, help="where its devices belong")
    one.add_argument("--serial", metavar="S", help="only a board with this serial may use it")
    one.add_argument("--device", metavar="ID", help="only this device; an identity that it has already ends")
    one.add_argument("--tag", action="append", default=[], help="of its devices; may be repeated")
    one.add_argument("--expires", type=life, default=LIFE_S, metavar="TIME", help="as 30m, 24h or 30d (default: 24h)")
    one.add_argument("--batch", action="store_true", help="for a golden image: many devices use one token; needs --cap")
    one.add_argument("--cap", type=int, metavar="N", help="how many devices a batch lets in")
    one.add_argument(
        "--serials",
        type=Path,
        metavar="FILE",
        help="CSV: the boards that may come; columns serial and, if wished, device",
    )
    one.add_argument("--approve", action="store_true", help="each device waits for edgefleet device approve")
    one.add_argument("--csv", action="store_true", help="print a line of CSV with its heading")
    one = _verb(mine, "list", "every token, and who came with it; never the secrets", _list)
    one.add_argument("--csv", action="store_true", help="one line of CSV for each device that came")
    one = _verb(mine, "revoke", "let nobody in by this token any more; who is in stays in", _revoke)
    one.add_argument("id", help="as `list` shows it")


def _verb(verbs: Verbs, name: str, words: str, do: parser.Verb) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = verbs.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}.", epilog=parser.EXIT_CODES
    )
    parser.add_config(one)
    one.add_argument("--json", action="store_true", help="JSON instead of words for people")
    one.set_defaults(verb=do)
    return one


def life(text: str) -> float:
    """Return the seconds that `30m`, `24h` or `30d` says."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None or not 0 < int(found[1]) * UNITS[found[2]] <= MAX_LIFE_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no time up to 400 days: write it as 30m, 24h or 30d")
    return int(found[1]) * UNITS[found[2]]


def _new(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    mark = fingerprint(read_ca(identity_of(config).folder))
    regions = Repository(config.repository).regions()
    if arguments.region not in regions:
        raise NotFound(f"there is no region {arguments.region}. There are: {', '.join(regions) or 'none'}")
    secret, now = tokens.new_secret(), time.time()
    token = _token(arguments, tokens.hashed(tokens.password(secret)), now)
    with beside(config.place) as connection:
        enrol_tokens.add(connection, token)
        words = f"token {token.id} for {token.cap}, until {moment(token.expires_s)}"
        audit.add(connection, audit.AuditRow(now, WHO, "enrol-token.new", token.region, token.id, words))
    shown = tokens.written(mark, secret)
    row = {"token": shown, "id": token.id, "region": token.region, "cap": token.cap, "expires": moment(token.expires_s)}
    if arguments.json:
        print(as_json(row))
    elif arguments.csv:
        _csv([row])
    else:
        print(shown)
        many = f"{token.cap} devices" if token.cap > 1 else "one device"
        print(f"It lets {many} into {token.region} until {row['expires']}, and is not shown again.", file=sys.stderr)
    return 0


def _token(arguments: argparse.Namespace, sha256: str, now: float) -> Token:
    if arguments.batch != (arguments.cap is not None):
        raise BadRequest("--batch and --cap N belong together: a batch says how many devices it lets in")
    if arguments.batch and (arguments.device or arguments.serial):
        raise BadRequest("--device and --serial are for a token of one device; a batch takes --serials FILE")
    if arguments.serials and arguments.serial:
        raise BadRequest("--serial and --serials say the same in two ways: write one of them")
    cap = arguments.cap if arguments.batch else 1
    if not 1 <= cap <= MAX_CAP:
        raise BadRequest(f"--cap is {cap}: write a number from 1 to {MAX_CAP}")
    allowed: tuple[Allowed, ...] = ()
    if arguments.serial is not None:
        allowed = (Allowed(_checked(check_serial, arguments.serial.strip())),)
    if arguments.serials:
        allowed = read_serials(arguments.serials)
    for tag in arguments.tag:
        check_label("tag", tag)
    return Token(
        id=tokens.identifier(sha256),
        sha256=sha256,
        region=arguments.region,
        tags=tuple(arguments.tag),
        created_s=now,
        expires_s=now + arguments.expires,
        cap=cap,
        device=_checked(check_device_id, arguments.device) if arguments.device else None,
        allowed=allowed,
        approve=arguments.approve,
    )


def read_serials(path: Path) -> tuple[Allowed, ...]:
    """Return the boards that the CSV at `path` lists; raise BadRequest, naming the line."""
    try:
        with open_regular(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if "serial" not in (reader.fieldnames or ()):
                raise BadRequest(f"{path} has no column `serial`: its first line must name the columns")
            found: dict[str, Allowed] = {}
            for row in reader:
                serial, device = (row.get("serial") or "").strip(), (row.get("device") or "").strip()
                if not serial:
                    raise BadRequest(f"{path}, line {reader.line_num}: the serial is empty")
                try:
                    serial, device = _checked(check_serial, serial), device and _checked(check_device_id, device)
                except BadRequest as error:
                    raise BadRequest(f"{path}, line {reader.line_num}: {error}") from error
                if serial in found:
                    raise BadRequest(f"{path}, line {reader.line_num}: {serial} is there twice")
                found[serial] = Allowed(serial, device or None)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"{path} cannot be read as CSV: {error}") from error
    if not found:
        raise BadRequest(f"{path} lists no board")
    return tuple(found.values())


def _checked(check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except TurnedAway as error:
        raise BadRequest(str(error)) from error


def _list(arguments: argparse.Namespace) -> int:
    now = time.time()
    with beside(load(arguments.config).place) as connection:
        found = [(token, enrolments.of_token(connection, token.id)) for token in enrol_tokens.every(connection)]
    if arguments.csv:
        _csv(
            [
                {
                    "token": token.id,
                    "region": token.region,
                    "device": one.device,
                    "serial": one.hardware_serial or "",
                    "status": one.status,
                    "key": one.public_key,
                    "first": moment(one.first_s),
                }
                for token, came in found
                for one in came
            ],
            ("token", "region", "device", "serial", "status", "key", "first"),
        )
        return 0
    rows = [
        {
            "id": token.id,
            "region": token.region,
            "tags": list(token.tags),
            "cap": token.cap,
            "used": sum(one.status != "rejected" for one in came),
            "waiting": [one.device for one in came if one.status == "waiting"],
            "state": _state(token, len(came), now),
            "expires": moment(token.expires_s),
        }
        for token, came in found
    ]
    if arguments.json:
        print(as_json(rows))
    elif not rows:
        print("There is no token yet: edgefleet server enrol-token new")
    else:
        lines = [
            (row["id"], row["region"], f"{row['used']} of {row['cap']}", row["state"], row["expires"],
             ", ".join(row["waiting"]))  # type: ignore[arg-type]
            for row in rows
        ]  # fmt: skip
        print(table(("token", "region", "used", "state", "ends", "waiting"), lines))
    return 0


def _state(token: Token, came: int, now: float) -> str:
    if token.revoked_s is not None:
        return "revoked"
    if now >= token.expires_s:
        return "over"
    return "used up" if came >= token.cap else "open"


def _revoke(arguments: argparse.Namespace) -> int:
    now = time.time()
    with beside(load(arguments.config).place) as connection:
        token = enrol_tokens.find(connection, arguments.id)
        if token is None:
            raise NotFound(f"there is no token {arguments.id}: edgefleet server enrol-token list shows them")
        enrol_tokens.revoke(connection, token.id, now)
        audit.add(connection, audit.AuditRow(now, WHO, "enrol-token.revoke", token.region, token.id, "revoked"))
    print(as_json({"id": token.id}) if arguments.json else f"{token.id} lets nobody in any more")
    return 0


def _csv(rows: list[dict[str, Any]], names: tuple[str, ...] = ()) -> None:
    writer = csv.DictWriter(sys.stdout, names or tuple(rows[0]), lineterminator="\n")
    writer.writeheader()
    # A cell that begins so is a formula to a spreadsheet, and a board's serial is what a stranger says.
    writer.writerows(
        {key: f"'{value}" if str(value)[:1] in tuple("=+-@") else value for key, value in row.items()} for row in rows
    )
