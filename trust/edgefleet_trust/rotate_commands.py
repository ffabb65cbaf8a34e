"""`edgefleet trust rotate`, `renew`, `add-region`, `merge`: the files that holders sign besides releases."""

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key

from edgefleet_protocol.trust import KEYS_ROLE, RELEASES_ROLE, rollouts_role

from .cli import DONE, say, utc_now
from .errors import BreaksRule
from .files import Disk
from .holders import holder, read_public
from .motion import OFFLINE as OFFLINE_ROLES
from .motion import Draft, Motion, is_motion, read_motion, write_motion
from .motion_signing import merge_motions
from .passphrase import ONLINE, AskedPassphrase
from .proposal import read_proposal, write_proposal
from .repository import Repository
from .rotate import (
    add_region,
    hands,
    is_online_role,
    new_online_key,
    renew,
    replace_holder,
    roles_of_compromise,
    rotate_online,
    set_hand,
)
from .signing import merge_proposals

HOLDERS_OF = ("root", RELEASES_ROLE, KEYS_ROLE)


def add_rotate_verbs(verbs: Any) -> list[ArgumentParser]:
    """Add the verbs to those of `edgefleet trust`; return the parsers."""
    rotate: ArgumentParser = verbs.add_parser(
        "rotate", help="new keys for a role or a holder: writes a file to be signed"
    )
    rotate.add_argument(
        "what",
        help="an online role (snapshot, timestamp, rollouts-REGION, commands), an offline one (root, releases, keys), or a holder",
    )
    _common(rotate)
    rotate.add_argument("--keys", type=Path, help="the server's KEYS folder, where a new online key will wait")
    rotate.add_argument("--compromised", action="store_true",
                        help="a thief may have the old key: new online keys too, counters and time floor start anew")  # fmt: skip
    rotate.add_argument("--uri", help="of the new online key: awskms:, gcpkms:, azurekms:, hv:, hsm:")
    rotate.add_argument("--holder", type=Path, action="append", default=[], metavar="FILE",
                        help="the new key of a holder, or all holders of an offline role, as public files")  # fmt: skip
    rotate.add_argument("--drop", action="store_true", help="nobody takes the holder's place")
    rotate.add_argument("--threshold", type=int, help="how many of an offline role's holders must sign")
    rotate.set_defaults(verb=_rotate)

    again: ArgumentParser = verbs.add_parser("renew", help="offline roles for another year, as they are")
    again.add_argument("role", nargs="*", help=f"of {', '.join(OFFLINE_ROLES)}; all when none is named")
    _common(again)
    again.set_defaults(verb=_renew)

    region: ArgumentParser = verbs.add_parser("add-region", help="a region more: writes a file to be signed")
    region.add_argument("region")
    _common(region)
    region.add_argument(
        "--keys", type=Path, required=True, help="the server's KEYS folder, where the region's key will wait"
    )
    region.add_argument("--uri", help="of the region's key, where it stays in a token, a KMS or a vault")
    region.set_defaults(verb=_add_region)

    merge: ArgumentParser = verbs.add_parser(
        "merge", help="bring signatures from copies of a file that others signed into it"
    )
    merge.add_argument("file", type=Path, help="the file that gets all signatures")
    merge.add_argument("other", type=Path, nargs="+", help="copies of it that were signed elsewhere")
    merge.set_defaults(verb=_merge)
    return [rotate, again, region, merge]


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("--repository", type=Path, required=True, metavar="REPO")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the file to write; must be new")


def _rotate(arguments: Namespace) -> int:
    repository = _open(arguments)
    now = utc_now()
    new = [read_public(path) for path in arguments.holder]
    if is_online_role(arguments.what):
        roles = roles_of_compromise(arguments.what) if arguments.compromised else (arguments.what,)
        motion = rotate_online(repository, _fresh(arguments, roles), now, compromised=arguments.compromised)
        return _written(arguments, motion, f"new keys for {', '.join(roles)}")
    fresh = _fresh(arguments, roles_of_compromise(RELEASES_ROLE)) if arguments.compromised else None
    if arguments.what in HOLDERS_OF:
        if not new and arguments.threshold is None:
            raise BreaksRule(
                f"name all holders of {arguments.what} from now on with --holder, or --threshold alone; to sign it for "
                "another year as it is, `edgefleet trust renew`"
            )
        keys, threshold = _hand(repository, arguments.what)
        keys = new or keys
        motion = set_hand(
            repository, arguments.what, keys, arguments.threshold or min(threshold, len(keys)), now, fresh=fresh
        )
        return _written(arguments, motion, f"{arguments.what} to {', '.join(holder(key) for key in keys)}")
    if arguments.drop == bool(new) or len(new) > 1:
        raise BreaksRule(f"name the one new key of {arguments.what} with --holder FILE, or say --drop")
    motion = replace_holder(repository, arguments.what, new[0] if new else None, now, fresh=fresh)
    return _written(arguments, motion, f"{arguments.what} {'goes' if arguments.drop else 'gets a new key'}")


def _hand(repository: Repository, role: str) -> tuple[list[Key], int]:
    rows = hands(Draft(repository.current(), repository.folder))
    return next((keys, threshold) for name, keys, threshold in rows if name == role)


def _fresh(arguments: Namespace, roles: tuple[str, ...]) -> dict[str, Key]:
    if arguments.keys is None:
        raise BreaksRule("name the server's KEYS folder with --keys: its new keys are made there")
    secret = AskedPassphrase(ONLINE)
    return {
        role: new_online_key(
            arguments.keys,
            role,
            secret,
            uri=arguments.uri if role == arguments.what else None,
            fresh=arguments.compromised,
        )
        for role in roles
    }


def _renew(arguments: Namespace) -> int:
    roles = arguments.role or list(OFFLINE_ROLES)
    return _written(arguments, renew(_open(arguments), roles, utc_now()), f"another year for {', '.join(roles)}")


def _add_region(arguments: Namespace) -> int:
    repository = _open(arguments)
    role = rollouts_role(arguments.region)
    key = new_online_key(arguments.keys, role, AskedPassphrase(ONLINE), uri=arguments.uri)
    return _written(arguments, add_region(repository, arguments.region, key, utc_now()), f"region {arguments.region}")


def _merge(arguments: Namespace) -> int:
    if is_motion(arguments.file):
        motion = read_motion(arguments.file)
        for other in arguments.other:
            motion = merge_motions(motion, read_motion(other))
        write_motion(arguments.file, motion, Disk())
    else:
        proposal = read_proposal(arguments.file)
        for other in arguments.other:
            proposal = merge_proposals(proposal, read_proposal(other))
        write_proposal(arguments.file, proposal, Disk())
    answer = {"file": str(arguments.file), "merged": [str(path) for path in arguments.other]}
    say(arguments, answer, [f"{arguments.file} has the signatures of all {1 + len(arguments.other)} copies."])
    return DONE


def _open(arguments: Namespace) -> Repository:
    if arguments.out.exists():
        raise BreaksRule(f"{arguments.out} exists and may hold signatures: name a new file")
    return Repository(arguments.repository)


def _written(arguments: Namespace, motion: Motion, what: str) -> int:
    write_motion(arguments.out, motion, Disk())
    roles = list(motion.next)
    lines = [
        f"Wrote {arguments.out}: {what}. It changes {', '.join(roles)} once enough holders have signed it.",
        f"Next, each holder: edgefleet trust sign {arguments.out} --keys KEYS",
    ]
    say(arguments, {"file": str(arguments.out), "roles": roles}, lines)
    return DONE
