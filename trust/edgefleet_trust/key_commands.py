"""`edgefleet trust key`: a holder's own key, made where it stays."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from .cli import DONE, say
from .desk import ANCHOR, make_desk, offline_folder, own_keys
from .errors import BreaksRule, NotThere
from .files import Disk
from .holders import check_holder_name, public_file, read_public
from .keyfile import P256, KeyWriter
from .passphrase import OFFLINE, AskedPassphrase
from .uris import import_uri
from .words import fingerprint


def add_key_verbs(verbs: Any) -> list[ArgumentParser]:
    """Add `key new` and `key show` to the verbs of `edgefleet trust`; return the parsers."""
    key: ArgumentParser = verbs.add_parser("key", help="make a holder's key, or show whose it is")
    key.epilog = "key new NAME --keys KEYS [--uri URI]; key show FILE..."
    inner = key.add_subparsers(required=True, metavar="VERB")
    new: ArgumentParser = inner.add_parser("new", help="make a key on this machine; only its public half leaves")
    new.add_argument("name", help="the holder: a-z, 0-9 and -")
    new.add_argument("--keys", type=Path, required=True, help="this holder's folder, new or not")
    new.add_argument(
        "--uri", help="a key that stays in a token, a KMS or a vault: hsm:, awskms:, gcpkms:, azurekms:, hv:"
    )
    new.set_defaults(verb=_new)
    show: ArgumentParser = inner.add_parser("show", help="a key's fingerprint as words, to compare by voice")
    show.add_argument("file", type=Path, nargs="+", help="public files (NAME.pub), or a KEYS folder")
    show.set_defaults(verb=_show)
    return [new, show]


def _new(arguments: Namespace) -> int:
    name = check_holder_name(arguments.name)
    public = arguments.keys / f"{name}.pub"
    folder = make_desk(arguments.keys)
    writer = KeyWriter(folder, AskedPassphrase(OFFLINE, twice=True), disk=Disk())
    if arguments.uri:
        kept, key = import_uri(arguments.uri)
        writer.refer(name, kept, key)
    else:
        key = writer.new(name, P256).public_key
    Disk().put(public, public_file(name, key))
    words = fingerprint(key)
    answer = {"name": name, "keyid": key.keyid, "public": str(public), "words": words}
    lines = [
        f"Made the key of {name} in {folder}; keep a copy of that folder apart.",
        f"Give {public} to whoever runs `edgefleet trust init`, and read these words to every other holder:",
        f"  {words}",
    ]
    say(arguments, answer, lines)
    return DONE


def _show(arguments: Namespace) -> int:
    rows = []
    for path in arguments.file:
        if path.is_dir():
            rows += _of_folder(path)
        else:
            key = read_public(path)
            rows.append(
                {"name": key.unrecognized_fields["x-edgefleet-holder"], "keyid": key.keyid, "words": fingerprint(key)}
            )
    say(arguments, {"keys": rows}, [f"{row['name']} ({row['keyid'][:8]}): {row['words']}" for row in rows])
    return DONE


def _of_folder(folder: Path) -> list[dict[str, str]]:
    if not offline_folder(folder).is_dir():
        raise NotThere(f"{folder} is no KEYS folder: it has no offline/")
    rows = [
        {"name": path.stem, "keyid": keyid, "words": fingerprint(key)}
        for keyid, (path, key) in own_keys(folder).items()
    ]
    if not rows:
        raise BreaksRule(
            f"{offline_folder(folder)} holds no key"
            + (", only " + ANCHOR if any(offline_folder(folder).iterdir()) else "")
        )
    return rows
