"""`edgefleet trust sign`: the one command of a key holder. Believes nothing but the holder's own root."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from edgefleet_protocol.manifest import Release
from edgefleet_protocol.trust import RELEASES_ROLE

from .ceremony import ANCHOR
from .chain import Hand, hand
from .change import describe
from .errors import BreaksRule, NotThere
from .files import Disk
from .keyfile import read_key, said_keyid
from .passphrase import Passphrase
from .proposal import Proposal, check_contents, check_step, read_proposal, write_proposal
from .roles import add_signature


@dataclass(frozen=True)
class Reviewed:
    """A proposal that was checked anew, and what it would change."""

    proposal: Proposal
    release: Release
    hand: Hand
    words: tuple[str, ...]


def review(file: Path, keys: Path, now: datetime) -> Reviewed:
    """Return what the proposal in `file` would change; raise BadProposal for one that nobody should sign."""
    proposal = read_proposal(file)
    try:
        anchor = (keys / "offline" / ANCHOR).read_bytes()
    except OSError as error:
        raise NotThere(
            f"{keys / 'offline' / ANCHOR} cannot be read ({error.strerror}): name the KEYS folder"
        ) from error
    release = check_contents(proposal)
    check_step(proposal, release, now)
    who = hand(proposal, anchor)
    return Reviewed(proposal, release, who, tuple(describe(proposal, release, who)))


def signed_already(reviewed: Reviewed, keys: Path) -> str | None:
    """Return the id of this holder's key when its signature is under the proposal, so that nobody is asked again."""
    keyid = said_keyid(keys / "offline" / f"{RELEASES_ROLE}.json")
    return keyid if keyid in reviewed.hand.signed else None


def sign_proposal(reviewed: Reviewed, file: Path, keys: Path, secret: Passphrase, disk: Disk | None = None) -> str:
    """Add this holder's signature to `file`; return the key's id. Raises KeyProblem, or BreaksRule for a foreign key."""
    signer = read_key(keys / "offline" / f"{RELEASES_ROLE}.json", secret)
    keyid = signer.public_key.keyid
    if keyid not in reviewed.hand.keyids:
        raise BreaksRule(
            f"the key {keyid[:8]} may not sign releases; these may: "
            f"{', '.join(one[:8] for one in reviewed.hand.keyids)}"
        )
    signed = add_signature(reviewed.proposal.next(), signer)
    write_proposal(file, reviewed.proposal.with_releases(signed), disk or Disk())
    return keyid
