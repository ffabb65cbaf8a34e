"""`edgefleet trust`: init, sign, publish, status, verify."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from edgefleet_protocol.trust import COMMAND_KEYS_PATH, RELEASES_ROLE, rollout_path

from .ceremony import check_init, init
from .cli import DONE, EXIT_CODES, FAILED, run, say, utc_now
from .current import digest
from .device_view import device_view
from .online import OnlineKeys
from .passphrase import OFFLINE, ONLINE, from_environment
from .proposal import read_proposal
from .publish import publish, published_already
from .repository import Repository
from .signing import Reviewed, review, sign_proposal, signed_already
from .status import describe_status, read_status


def main(argv: list[str] | None = None) -> int:
    """Run `edgefleet trust ARGV`; return the exit code: 0 done, 1 failed, 2 usage, 3 not found, 5 refused by a rule."""
    return run(_parser(), sys.argv[1:] if argv is None else argv)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="edgefleet trust",
        description="Keys and signatures: who may make a device do what.",
        epilog=f"Passphrases come from the file that {OFFLINE} or {ONLINE} names (the online keys fall back to the "
        f"first), else from a prompt. {EXIT_CODES[0].upper()}{EXIT_CODES[1:]}.",
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    first = verbs.add_parser("init", help="make the first keys and an empty repository")
    first.add_argument("--repository", type=Path, required=True, metavar="REPO", help="new folder, served to devices")
    first.add_argument("--keys", type=Path, required=True, help="new folder; keys/offline belongs off the server")
    first.add_argument("--fleet", required=True, help="the fleet's name: a-z, 0-9 and -")
    first.add_argument("--region", action="append", required=True, help="a region; again for each further one")
    first.add_argument("--yes-i-am-alone", action="store_true", help="one person holds every offline key")
    first.set_defaults(verb=_init)

    sign = verbs.add_parser("sign", help="check a proposal, see what it changes, and sign it")
    sign.add_argument("file", type=Path, help="the proposal")
    sign.add_argument("--keys", type=Path, required=True, help="the folder that init made")
    sign.add_argument("--yes", action="store_true", help="sign without being asked")
    sign.set_defaults(verb=_sign)

    release = verbs.add_parser("publish", help="put a signed proposal into the repository")
    release.add_argument("file", type=Path, help="the proposal")
    release.add_argument("--repository", type=Path, required=True, metavar="REPO")
    release.add_argument("--keys", type=Path, required=True, help="the folder with the online keys")
    release.set_defaults(verb=_publish)

    status = verbs.add_parser("status", help="roles, keys, days to expiry, releases, and what to worry about")
    status.add_argument("--repository", type=Path, required=True, metavar="REPO")
    status.set_defaults(verb=_status)

    verify = verbs.add_parser("verify", help="see the repository as a new device would, from root 1")
    verify.add_argument("--repository", type=Path, required=True, metavar="REPO")
    verify.set_defaults(verb=_verify)

    for verb in (first, sign, release, status, verify):
        verb.epilog = EXIT_CODES
        verb.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _init(arguments: Namespace) -> int:
    check_init(
        arguments.repository, arguments.keys, arguments.fleet, arguments.region, alone=arguments.yes_i_am_alone
    )  # before anybody is asked for a passphrase
    offline, online = from_environment(OFFLINE, twice=True), from_environment(ONLINE, twice=True)
    init(
        arguments.repository,
        arguments.keys,
        arguments.fleet,
        arguments.region,
        offline,
        online,
        utc_now(),
        alone=arguments.yes_i_am_alone,
    )
    answer = {"repository": str(arguments.repository), "keys": str(arguments.keys), "fleet": arguments.fleet}
    lines = [
        f"Made the repository {arguments.repository} and the keys in {arguments.keys}.",
        f"Move {arguments.keys / 'offline'} off this machine, and keep a copy apart; the server needs only "
        f"{arguments.keys / 'online'}.",
        f"Devices are made with {arguments.repository / 'metadata' / '1.root.json'}.",
    ]
    say(arguments, answer, lines)
    return DONE


def _sign(arguments: Namespace) -> int:
    reviewed = review(arguments.file, arguments.keys, utc_now())
    for line in reviewed.words:
        print(line, file=sys.stderr)
    if (before := signed_already(reviewed, arguments.keys)) is not None:
        return _say_signed(arguments, reviewed, before, f"{reviewed.release.name} is already signed by {before[:8]}")
    if not arguments.yes:
        if not sys.stdin.isatty():
            print("edgefleet trust sign: asks before it signs; run it in a terminal, or add --yes", file=sys.stderr)
            return FAILED
        print("Sign it? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            print("Not signed.", file=sys.stderr)
            return FAILED
    keyid = sign_proposal(reviewed, arguments.file, arguments.keys, from_environment(OFFLINE))
    return _say_signed(arguments, reviewed, keyid, f"Signed {reviewed.release.name} with {keyid[:8]}")


def _say_signed(arguments: Namespace, reviewed: Reviewed, keyid: str, words: str) -> int:
    have = len({*reviewed.hand.signed, keyid})
    answer = {
        "release": reviewed.release.name,
        "signed_by": keyid,
        "signatures": have,
        "threshold": reviewed.hand.threshold,
        "already": keyid in reviewed.hand.signed,
    }
    say(arguments, answer, [f"{words}: {have} of {reviewed.hand.threshold} needed."])
    return DONE


def _publish(arguments: Namespace) -> int:
    repository = Repository(arguments.repository)
    proposal = read_proposal(arguments.file)
    if already := published_already(proposal, repository):
        name = proposal.release().name
    else:
        keys = OnlineKeys.load_with(arguments.keys, from_environment(ONLINE))
        name = publish(proposal, repository, keys, utc_now())
    version = repository.current().roles[RELEASES_ROLE].version
    answer = {
        "release": name,
        "releases_version": version,
        "sha256": repository.releases()[name].sha256,
        "already": already,
    }
    words = f"{name} is already published" if already else f"Published {name}"
    say(arguments, answer, [f"{words}: the list of releases is at version {version}."])
    return DONE


def _status(arguments: Namespace) -> int:
    status = read_status(Repository(arguments.repository), utc_now())
    say(arguments, status.to_json(), describe_status(status))
    return DONE


def _verify(arguments: Namespace) -> int:
    repository = Repository(arguments.repository)
    current = repository.current()
    paths: dict[str, str | None] = {ref.path: ref.sha256 for ref in current.releases().values()}
    paths |= {COMMAND_KEYS_PATH: None} | {rollout_path(region): None for region in repository.regions()}
    found = device_view(current.files, paths)
    targets = repository.targets()
    answer = {path: digest(target) if target is not None else None for path, target in found.items()}
    lines = [f"{path}  {sha256 or 'nothing is signed'}" for path, sha256 in answer.items()]
    lines.append(
        f"A new device accepts all of it: {_count(len(answer), 'path')}, {_count(len(targets), 'target')} to publish."
    )
    say(arguments, {"found": answer, "targets": sorted(targets)}, lines)
    return DONE


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
