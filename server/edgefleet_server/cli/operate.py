"""`edgefleet server init|check|backup|restore`."""

import argparse
import os
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ..config import ServerConfig, load
from . import parser
from .output import as_json, clean, table
from .token import ACTOR, ADMIN_DAYS, DAY_S

DUMP = "pg_dump --format=custom --file=edgefleet.dump URL"
LOAD = "pg_restore --exit-on-error --no-owner --dbname=URL edgefleet.dump"


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verbs to `edgefleet server`."""
    one = _verb(
        verbs, "init", "write a first server.toml, make its folders, and say what is left to do; again and again"
    )
    one.add_argument(
        "--host",
        action="append",
        default=[],
        help="a name by which devices reach it: makes the identity; may be repeated",
    )
    one.add_argument(
        "--admin", metavar="NAME", help="make the first token, when there is none; it goes into admin.token"
    )
    one.set_defaults(verb=_init)
    one = _verb(verbs, "check", "see whether a server can work here: 0 it can (whatever it warns of), 1 it cannot")
    one.set_defaults(verb=_check)
    one = _verb(verbs, "backup", "write the whole server to one file, while it runs or not")
    one.add_argument("--out", type=Path, required=True, metavar="FILE", help="as backup.tar.gz; not written over")
    one.add_argument(
        "--with-keys", action="store_true", help="private keys too: who has the file and the passphrases is the server"
    )
    one.set_defaults(verb=_backup)
    one = _verb(verbs, "restore", "bring a backup back into empty folders")
    one.add_argument("file", type=Path, help="as backup wrote it")
    one.set_defaults(verb=_restore)


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, words: str
) -> argparse.ArgumentParser:
    one = verbs.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}.", epilog=parser.EXIT_CODES)
    parser.add_config(one)
    one.add_argument("--json", action="store_true", help="print JSON")
    return one


def _init(arguments: argparse.Namespace) -> int:
    from ..operate.first import write_first

    path: Path = arguments.config
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [("server.toml", "made" if write_first(path) else "was there", str(path), "")]
    config = load(path)
    there = config.data.is_dir()
    config.data.mkdir(mode=0o750, parents=True, exist_ok=True)
    rows.append(("data", "was there" if there else "made", str(config.data), ""))
    rows += [_repository(config), _identity(config, arguments.host), _admin(config, path, arguments.admin)]
    left = any(state == "left" for _, state, _, _ in rows)
    if arguments.json:
        keys = ("name", "state", "text", "next")
        print(as_json({"done": not left, "steps": [dict(zip(keys, row, strict=True)) for row in rows]}))
    else:
        print(table(("what", "is", "where", "next"), rows))
    return 5 if left else 0


Step = tuple[str, str, str, str]


def _repository(config: ServerConfig) -> Step:
    if (config.repository / "fleet.json").is_file():
        return "repository", "was there", str(config.repository), ""
    # It makes the keys that sign releases, which are a person's and not this machine's: so it is not done in passing.
    step = f"edgefleet trust init --repository {config.repository} --keys {config.keys} --fleet NAME --region REGION"
    return "repository", "left", str(config.repository), step


def _identity(config: ServerConfig, hosts: list[str]) -> Step:
    from edgefleet_trust.repository import Repository

    from ..identity.authority import establish
    from ..identity.passphrase import VARIABLE, has_ca_passphrase, new_passphrase

    if config.identity is None:
        return "identity", "left out", "", ""
    folder = config.identity.folder
    if (folder / "ca.pem").is_file():
        return "identity", "was there", str(folder), ""
    if not (config.repository / "fleet.json").is_file():
        return "identity", "left", str(folder), "the repository first, then this again with --host NAME"
    if not hosts:
        return "identity", "left", str(folder), "this again, with --host NAME"
    if not has_ca_passphrase():
        return "identity", "left", str(folder), f"set {VARIABLE} to a file with a passphrase for it, then this again"
    establish(folder, Repository(config.repository).fleet, hosts, new_passphrase(), datetime.now(UTC))
    return "identity", "made", str(folder), "keep a copy of ca.key.json and its passphrase apart from this machine"


def _admin(config: ServerConfig, path: Path, name: str | None) -> Step:
    from edgefleet_protocol.names import check_label

    from ..store import audit, tokens
    from ..store.beside import beside

    now = time.time()
    with beside(config.place) as connection:
        if any(row.role == "admin" and row.ended(now) is None for row in tokens.every(connection)):
            return "admin", "was there", "", ""
        if name is None:
            return "admin", "left", "", "this again, with --admin NAME"
        check_label("token", name)
        token, secret = tokens.new(connection, name, "admin", None, now, ADMIN_DAYS * DAY_S)
        audit.add(
            connection, audit.AuditRow(now, ACTOR, "token.new", None, name, f"{token.id}: admin, {ADMIN_DAYS} days")
        )
        file = path.parent / "admin.token"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
            out.write(secret + "\n")
    return "admin", "made", str(file), f"export EDGEFLEET_TOKEN_FILE={file}"


def _check(arguments: argparse.Namespace) -> int:
    from ..operate.check import check

    rows = check(load(arguments.config))
    failed = any(row.state == "failed" for row in rows)
    if arguments.json:
        print(as_json({"ok": not failed, "rows": [asdict(row) for row in rows]}))
    else:
        marks = {"ok": "OK", "warning": "warning", "failed": "FAILED"}
        for row in rows:
            print(f"{marks[row.state]:<8} {row.name}: {clean(row.text)}{f'. {row.next_step}' if row.next_step else ''}")
    return 1 if failed else 0


def _backup(arguments: argparse.Namespace) -> int:
    from ..operate.backup import back_up

    out = arguments.out.resolve()
    made = back_up(load(arguments.config), out, with_keys=arguments.with_keys, config_file=arguments.config)
    if arguments.json:
        print(as_json({"file": str(out), **asdict(made)}))
        return 0
    size = out.stat().st_size
    print(f"{out}: {len(made.files)} files, {size / 1e6:.1f} MB, fleet {made.fleet}, EdgeFleet {made.version}")
    if made.database == "postgresql":
        print("Not in it: the database, which is PostgreSQL's to copy. Now, after this file: " + DUMP)
    if made.left_out:
        print(f"Not in it: {len(made.left_out)} files of private keys. Keep copies of them apart, or use --with-keys.")
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from ..operate.backup import restore

    made = restore(arguments.file, load(arguments.config))
    if arguments.json:
        print(as_json(asdict(made)))
        return 0
    when = datetime.fromtimestamp(made.made_s, UTC)
    print(
        f"fleet {made.fleet} is as it was on {when:%Y-%m-%d %H:%M} UTC: {len(made.files)} files, each as its digest says"
    )
    if made.database == "postgresql":
        print("The database is not in it. Into an empty one, before the server starts: " + LOAD)
    if made.left_out:
        print(f"Bring the private keys that were not in it: {', '.join(made.left_out)}")
    print(f"Then: edgefleet server check --config {arguments.config}")
    return 0
