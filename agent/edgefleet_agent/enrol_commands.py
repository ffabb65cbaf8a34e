"""`edgefleet agent enrol` and `seal`."""

import argparse
import getpass
import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from . import enrol_seed
from .config import PLACE, Config
from .enrol_seed import Seed
from .errors import BadOption
from .text_file import open_text

VARIABLE = "EDGEFLEET_ENROL_TOKEN_FILE"
DONE, FAILED, REFUSED, UNREACHABLE = 0, 1, 5, 7
EXIT_CODES = """exit codes:
    0  done
    1  failed: the message says what the system refused
    2  a wrong option or configuration, or a token or bundle that cannot be used as it is
    5  refused: by the server, by another agent that holds the state folder, or since the device is enrolled already
    7  no server answered: what was done so far is kept, say the same once more
  130  interrupted"""


def add(verbs: Any) -> None:
    """Add the verbs `enrol` and `seal` to `edgefleet agent`."""
    enrol = _verb(
        verbs, "enrol", "get an identity: make a key here, and have its certificate made by the fleet's server"
    )
    enrol.add_argument("url", metavar="URL", help="the fleet's enrolment server, as https://HOST:PORT")
    _token(enrol)
    enrol.add_argument("--device", metavar="ID", help="the device's id (default: made of the board's class and serial)")
    enrol.add_argument("--region", help="refuse a token of another region than this one")
    enrol.add_argument(
        "--bundle",
        type=Path,
        metavar="FOLDER",
        help="for an EST server (RFC 7030) of another make: ca.pem, root.json and enrolment.json, by other means",
    )
    enrol.add_argument(
        "--at-boot", action="store_true", help="only note it down: `agent run` enrols when it first runs"
    )
    enrol.add_argument(
        "--no-wait", action="store_true", help="do not wait until somebody approves: `agent run` goes on"
    )
    enrol.set_defaults(do=_enrol)
    seal = _verb(verbs, "seal", "make an image without identity: remove this device's, and let each copy enrol itself")
    seal.add_argument("--url", metavar="URL", help="where copies enrol (default: where this device did)")
    _token(seal)
    seal.add_argument("--region", help="refuse a token of another region than this one")
    seal.set_defaults(do=_seal)


def _verb(verbs: Any, name: str, words: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=words,
        description=words[0].upper() + words[1:] + ".",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("--config", type=Path, default=PLACE, metavar="FILE", help=f"default: {PLACE}")
    one.add_argument("--json", action="store_true", help="one JSON object instead of words for people")
    return one


def _token(parser: argparse.ArgumentParser) -> None:
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--token", metavar="T", help="the token; others on this machine can read it in `ps`, so better:")
    one.add_argument(
        "--token-file", type=Path, metavar="FILE", help=f"a file that holds it (or {VARIABLE}); else it is asked for"
    )


def _enrol(config: Config, arguments: argparse.Namespace) -> int:
    from .enrol_http import check_url
    from .identity import FOLDER
    from .loop import only_one

    check_url(arguments.url)
    for noun, name in (("device", arguments.device), ("region", arguments.region)):
        if name is not None:
            _check_label(noun, name)
    config.state.mkdir(parents=True, exist_ok=True, mode=0o750)
    with only_one(config.state):
        if (config.state / FOLDER).exists():
            where = config.state / FOLDER
            print(
                f"edgefleet agent: this device has an identity: {where}. To enrol anew, move it away", file=sys.stderr
            )
            return REFUSED
        token = _read_token(arguments, ask=True)
        assert token is not None
        if arguments.bundle is None:
            enrol_seed.read_token(token)
        seed = Seed(
            url=arguments.url,
            token=token,
            device=arguments.device,
            region=arguments.region,
            bundle=arguments.bundle is not None,
        )
        enrol_seed.save(config.state, seed, arguments.bundle)
        if arguments.at_boot:
            return _say(arguments, {"enrols": "at boot", "url": seed.url}, f"noted: `agent run` enrols at {seed.url}")
        return _now(config, seed, arguments)


def _check_label(noun: str, name: str) -> None:
    try:
        check_label(noun, name)
    except BadName as error:
        raise BadOption(str(error)) from error


def _now(config: Config, seed: Seed, arguments: argparse.Namespace) -> int:
    from .enrol import Board, enrol
    from .enrol_http import NotYet, TurnedAway, Unreachable
    from .identity import KEY
    from .identity_crypto import key_mark
    from .identity_files import MAKING

    board, told = Board(config.hardware.root, config.hardware.machine), ""
    while True:
        try:
            row = enrol(config.state, seed, board)
        except NotYet as error:
            if str(error) != told:
                told = str(error)
                mark = key_mark((config.state / MAKING / KEY).read_bytes())
                print(f"{told}\nIts key begins with {mark[:16]}.", file=sys.stderr)
            if arguments.no_wait:
                return FAILED
            time.sleep(min(error.after_s, 10.0))
            continue
        except TurnedAway as error:
            print(f"edgefleet agent: {error}", file=sys.stderr)
            enrol_seed.forget(config.state)
            return REFUSED
        except Unreachable as error:
            print(f"edgefleet agent: {error}. What was done is kept: say the same once more", file=sys.stderr)
            return UNREACHABLE
        words = f"enrolled as {row.device} of fleet {row.fleet}, region {row.region or 'not told'}"
        where = f"{row.broker.host}:{row.broker.port}"
        return _say(arguments, {"device": row.device, "fleet": row.fleet, "region": row.region, "broker": where}, words)


def _seal(config: Config, arguments: argparse.Namespace) -> int:
    from .enrol_seal import seal
    from .loop import only_one

    config.state.mkdir(parents=True, exist_ok=True, mode=0o750)
    with only_one(config.state):
        seed = seal(config.state, arguments.url, _read_token(arguments, ask=False), arguments.region)
    words = f"sealed: each copy of this card enrols itself at {seed.url}. Switch it off now, and copy it"
    return _say(arguments, {"sealed": True, "url": seed.url}, words)


def _read_token(arguments: argparse.Namespace, *, ask: bool) -> str | None:
    if arguments.token:
        return str(arguments.token).strip()
    named = arguments.token_file or os.environ.get(VARIABLE)
    if named:
        try:
            with open_text(Path(named)) as file:
                if os.fstat(file.fileno()).st_mode & (stat.S_IWGRP | stat.S_IRWXO):
                    raise BadOption(f"others may read the token in {named}: chmod 600 {named}")
                return file.read(4096).strip()
        except OSError as error:
            raise BadOption(f"the token file {named} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise BadOption(f"the token file {named} holds no text: name the file with the token") from error
    if not ask:
        return None
    if not sys.stdin.isatty():
        raise BadOption(f"there is no token: name a file that holds it with --token-file or {VARIABLE}")
    return getpass.getpass("Token: ").strip()


def _say(arguments: argparse.Namespace, row: dict[str, Any], words: str) -> int:
    print(json.dumps(row) if arguments.json else words)
    return DONE
