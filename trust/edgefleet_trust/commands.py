"""`edgefleet trust`: init, sign, publish, status, verify; keys and rotations are in files of their own."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from edgefleet_protocol.trust import COMMAND_KEYS_PATH, RELEASES_ROLE, rollout_path

from .carry import publish_ceremony, publish_motion
from .ceremony import check_init, init, prepare
from .cli import DONE, EXIT_CODES, FAILED, run, say, utc_now
from .current import digest
from .device_view import device_view
from .errors import BreaksRule
from .files import Disk, check_empty
from .first_hands import read_hands
from .key_commands import add_key_verbs
from .motion import is_motion, read_motion, write_motion
from .motion_signing import review_motion, sign_motion
from .motion_words import plain, signature_words
from .online import OnlineKeys
from .passphrase import OFFLINE, ONLINE, AskedPassphrase, from_environment
from .proposal import read_proposal
from .publish import publish, published_already
from .repository import Repository
from .rotate_commands import add_rotate_verbs
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
    first.add_argument("--keys", type=Path, required=True, help="new folder; KEYS/offline belongs off the server")
    first.add_argument("--fleet", required=True, help="the fleet's name: a-z, 0-9 and -")
    first.add_argument("--region", action="append", required=True, help="a region; again for each further one")
    first.add_argument("--yes-i-am-alone", action="store_true", help="one person holds every offline key")
    first.add_argument("--holder", type=Path, action="append", default=[], metavar="FILE",
                       help="public file of a person who signs root and releases; again for each")  # fmt: skip
    first.add_argument("--safe", type=Path, action="append", default=[], metavar="FILE",
                       help="public file of a key that counts for root alone: in a safe, or with one who signs no releases")  # fmt: skip
    first.add_argument("--root-threshold", type=int, help="of root's keys; default: more than half of them")
    first.add_argument("--release-threshold", type=int, help="of the holders; default: 1 of 2, else more than half")
    first.add_argument(
        "--devices", type=int, default=0, help="how many the fleet will have: one signature is little for many"
    )
    first.add_argument("--one-signature-is-enough", action="store_true", help="for a fleet of more than 5 devices too")
    first.add_argument(
        "--out", type=Path, metavar="FILE", help="the ceremony file for the holders to sign; must be new"
    )
    first.set_defaults(verb=_init)

    sign = verbs.add_parser(
        "sign", help="check a file, see what it changes, and sign it: releases, first keys, rotations, withdrawals"
    )
    sign.add_argument(
        "file", type=Path, help="what `propose`, `init`, `rotate`, `renew`, `add-region` or `withdraw` wrote"
    )
    sign.add_argument("--keys", type=Path, required=True, help="the holder's folder, that `init` or `key new` made")
    sign.add_argument("--yes", action="store_true", help="sign without being asked")
    sign.set_defaults(verb=_sign)

    release = verbs.add_parser("publish", help="put what was signed into the repository")
    release.add_argument("file", type=Path, help="the signed file")
    release.add_argument("--repository", type=Path, required=True, metavar="REPO")
    release.add_argument("--keys", type=Path, required=True, help="the folder with the online keys")
    release.set_defaults(verb=_publish)

    status = verbs.add_parser("status", help="roles, keys, days to expiry, releases, and what to worry about")
    status.add_argument("--repository", type=Path, required=True, metavar="REPO")
    status.set_defaults(verb=_status)

    verify = verbs.add_parser("verify", help="see the repository as a new device would, from root 1")
    verify.add_argument("--repository", type=Path, required=True, metavar="REPO")
    verify.add_argument("--as-device", action="store_true", help="with a device's own client and limits; it always is")
    verify.set_defaults(verb=_verify)

    for verb in (first, sign, release, status, verify, *add_key_verbs(verbs), *add_rotate_verbs(verbs)):
        verb.epilog = EXIT_CODES
        verb.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _init(arguments: Namespace) -> int:
    if arguments.holder or arguments.safe or arguments.out:
        return _prepare(arguments)
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


def _prepare(arguments: Namespace) -> int:
    """For several holders: the server's keys, and a ceremony file that the holders sign."""
    if arguments.yes_i_am_alone:
        raise BreaksRule("--yes-i-am-alone and --holder exclude each other: who holds the keys?")
    if arguments.out is None or arguments.out.exists():
        raise BreaksRule("name a new file for the holders to sign with --out")
    check_empty(arguments.repository)
    hands = read_hands(arguments.holder, arguments.safe, arguments.root_threshold, arguments.release_threshold)
    hands.check()
    hands.check_fleet_size(arguments.devices, one_is_enough=arguments.one_signature_is_enough)
    secret = AskedPassphrase(ONLINE, twice=True)
    motion = prepare(arguments.keys, arguments.fleet, arguments.region, hands, secret, utc_now())
    write_motion(arguments.out, motion, Disk())
    answer = {
        "file": str(arguments.out),
        "fleet": arguments.fleet,
        "root": f"{hands.root_threshold} of {len(hands.root)}",
        "releases": f"{hands.releases_threshold} of {len(hands.releases)}",
    }
    lines = [
        f"Made the server's keys in {arguments.keys / 'online'} and wrote {arguments.out}.",
        f"root, targets and keys: {answer['root']} must sign; releases: {answer['releases']}.",
        f"Next, each holder: edgefleet trust sign {arguments.out} --keys KEYS",
        f"Then here: edgefleet trust publish {arguments.out} --repository {arguments.repository} --keys {arguments.keys}",
    ]
    say(arguments, answer, lines)
    return DONE


def _sign(arguments: Namespace) -> int:
    if is_motion(arguments.file):
        return _sign_motion(arguments)
    reviewed = review(arguments.file, arguments.keys, utc_now())
    for line in reviewed.words:
        print(line, file=sys.stderr)
    if (before := signed_already(reviewed, arguments.keys)) is not None:
        return _say_signed(arguments, reviewed, before, f"{reviewed.release.name} is already signed by {before[:8]}")
    if not _agreed(arguments):
        return FAILED
    keyid = sign_proposal(reviewed, arguments.file, arguments.keys, AskedPassphrase(OFFLINE))
    return _say_signed(arguments, reviewed, keyid, f"Signed {reviewed.release.name} with {keyid[:8]}")


def _sign_motion(arguments: Namespace) -> int:
    reviewed = review_motion(arguments.file, arguments.keys, utc_now())
    for line in reviewed.words:
        print(line, file=sys.stderr)
    already = bool(reviewed.signed) and not reviewed.wanted
    if reviewed.wanted and not _agreed(arguments):
        return FAILED
    names = sign_motion(reviewed, arguments.file, arguments.keys, AskedPassphrase(OFFLINE))
    after = review_motion(arguments.file, arguments.keys, utc_now())
    answer = {
        "what": reviewed.title,
        "signed_by": list(names),
        "already": already,
        "enough": after.judged.enough,
        "needs": [
            {"role": need.role, "signatures": len(need.signed), "threshold": need.threshold}
            for need in after.judged.needs
        ],
    }
    words = f"{reviewed.title} is already signed by" if already else f"Signed {reviewed.title} as"
    say(arguments, answer, [f"{words} {', '.join(names)}. {plain(signature_words(after.judged))}"])
    return DONE


def _agreed(arguments: Namespace) -> bool:
    """Ask, unless --yes answered already. Words say why nothing is signed."""
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        print("edgefleet trust sign: asks before it signs; run it in a terminal, or add --yes", file=sys.stderr)
        return False
    print("Sign it? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("Not signed.", file=sys.stderr)
    return False


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
    if is_motion(arguments.file):
        return _publish_motion(arguments)
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


def _publish_motion(arguments: Namespace) -> int:
    motion = read_motion(arguments.file)
    keys = OnlineKeys.load_with(arguments.keys, AskedPassphrase(ONLINE))
    if motion.is_ceremony:
        done = publish_ceremony(motion, arguments.repository, keys, utc_now())
    else:
        done = publish_motion(motion, Repository(arguments.repository), keys, utc_now())
    current = Repository(arguments.repository).current()
    versions = {"root": current.root.version} | {role: body.version for role, body in current.roles.items()}
    changed = ", ".join(f"{role} at version {versions[role]}" for role in motion.next)
    words = "Published" if done else "Already published"
    say(arguments, {"already": not done, "versions": versions}, [f"{words}: {changed}."])
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
