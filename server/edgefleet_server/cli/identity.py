"""`edgefleet server identity init|renew|status`: the fleet's certificate authority."""

import argparse
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgefleet_trust.repository import Repository

from ..config import IdentityConfig, ServerConfig, load
from ..errors import BadConfig, Refused
from ..identity.authority import (
    WARN_BEFORE,
    Authority,
    establish,
    fingerprint,
    own_hosts,
    read_ca,
    read_crl,
    standings,
)
from ..identity.passphrase import VARIABLE, ca_passphrase, new_passphrase
from . import parser
from .output import as_json, table

Verbs = Any  # argparse does not name the type of its subparsers


def add(verbs: Verbs) -> None:
    """Add the noun `identity` to `edgefleet server`."""
    noun = verbs.add_parser(
        "identity",
        help="the fleet's certificate authority: init, renew, status",
        description="The fleet's certificate authority, in the folder that [identity] of server.toml names.",
        epilog=parser.EXIT_CODES,
    )
    mine = noun.add_subparsers(metavar="VERB", required=True)
    one = _verb(mine, "init", "make the authority, and the server's own two certificates", _init)
    one.add_argument(
        "--host",
        action="append",
        required=True,
        help="a name or address by which devices reach the server or the broker; may be repeated",
    )
    one = _verb(
        mine, "renew", "sign the revocation list anew, and make new keys for the server's own two certificates", _renew
    )
    one.add_argument(
        "--host", action="append", help="instead of the names that the certificate has now; may be repeated"
    )
    one = _verb(mine, "ingest", "make a key and a certificate for a further process that takes telemetry", _ingest)
    one.add_argument(
        "--number",
        type=parser.process_number,
        required=True,
        metavar="N",
        help="2 to 99: as server ingest --number says it",
    )
    _verb(mine, "status", "say how long each document holds; 5 when one ends within 30 days", _status)


def _verb(verbs: Verbs, name: str, words: str, do: parser.Verb) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = verbs.add_parser(
        name, help=words, description=f"{words[0].upper()}{words[1:]}.", epilog=parser.EXIT_CODES
    )
    parser.add_config(one)
    one.add_argument("--json", action="store_true", help="one JSON object instead of words for people")
    one.set_defaults(verb=do)
    return one


def _init(arguments: argparse.Namespace) -> int:
    config, now = load(arguments.config), _now()
    folder = identity_of(config).folder
    if (folder / "ca.pem").exists():
        raise Refused(
            f"{folder} holds an authority already, and every device of the fleet was made by it. To make new "
            "certificates for the server: edgefleet server identity renew"
        )
    secret = new_passphrase()
    authority = establish(folder, Repository(config.repository).fleet, arguments.host, secret, now)
    mark = fingerprint(authority.certificate).hex()
    if arguments.json:
        print(as_json({"folder": str(folder), "fingerprint": mark}))
    else:
        print(f"The authority lies in {folder}; its fingerprint is {mark}.")
        print(
            f"Keep a copy of ca.key.json and its passphrase apart from this machine; the server opens it by {VARIABLE}."
        )
    return 0


def _renew(arguments: argparse.Namespace) -> int:
    config, now = load(arguments.config), _now()
    authority = Authority.load(identity_of(config).folder, ca_passphrase())
    hosts = arguments.host or own_hosts(authority.folder)
    authority.refresh_crl(now)
    authority.renew_own(hosts, now)
    return _tell(
        authority.folder, arguments.json, after="Restart the server, and reload the broker, so that they take them."
    )


def _ingest(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    path = Authority.load(identity_of(config).folder, ca_passphrase()).make_helper(arguments.number, _now())
    if arguments.json:
        print(as_json({"certificate": str(path), "key": str(path.with_suffix(".key"))}))
        return 0
    print(f"{path} and {path.with_suffix('.key').name} beside it are process {arguments.number}'s.")
    print("Let the broker know it: edgefleet server broker config, as before, and reload the broker.")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    folder = identity_of(load(arguments.config)).folder
    _tell(folder, arguments.json)
    return 5 if any(row.left(_now()) < WARN_BEFORE for row in standings(folder)) else 0


def _tell(folder: Path, as_object: bool, after: str = "") -> int:
    now, rows = _now(), standings(folder)
    mark, revoked = fingerprint(read_ca(folder)).hex(), len(read_crl(folder))
    if as_object:
        ends = [{"name": row.name, "not_after": row.not_after.isoformat(), "days": row.left(now).days} for row in rows]
        print(as_json({"folder": str(folder), "fingerprint": mark, "revoked": revoked, "ends": ends}))
        return 0
    print(f"authority in {folder}, fingerprint {mark}, {revoked} certificates revoked\n")
    lines = [
        (
            row.name,
            f"{row.not_after:%Y-%m-%d}",
            f"{row.left(now).days} days" + (" (soon: renew)" if row.left(now) < WARN_BEFORE else ""),
        )
        for row in rows
    ]
    print(table(("document", "ends", "left"), lines))
    if after:
        print(after)
    return 0


def identity_of(config: ServerConfig) -> IdentityConfig:
    """Return where the authority lies; raise BadConfig when the file does not say."""
    if config.identity is None:
        raise BadConfig("[identity] folder is missing in server.toml: name a folder, as in folder = 'identity'")
    return config.identity


def _now() -> datetime:
    return datetime.now(timezone.utc)
