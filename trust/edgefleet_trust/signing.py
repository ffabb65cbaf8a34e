"""`edgefleet trust sign`: the one command of a key holder. Believes nothing but the holder's own root."""

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
from securesystemslib.signer import Signer

from edgefleet_protocol.manifest import Release

from .attest import Attestations, attest, check_signatures, parse_attestations
from .chain import Hand, hand
from .change import describe
from .desk import need_anchor, own_keys
from .errors import BadProposal, BreaksRule
from .files import Disk
from .keyfile import read_key
from .passphrase import Passphrase
from .proposal import Proposal, check_contents, check_step, read_proposal, write_proposal
from .roles import add_signature, to_bytes


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
    anchor = need_anchor(keys)
    release = check_contents(proposal)
    check_step(proposal, release, now)
    who = hand(proposal, anchor)
    check_signatures(parse_attestations(proposal.attestations), who.keys, release, proposal.provenance)
    return Reviewed(proposal, release, who, tuple(describe(proposal, release, who)))


def signed_already(reviewed: Reviewed, keys: Path) -> str | None:
    """Return the id of this holder's key when its signature is under the proposal, so that nobody is asked again."""
    return next((keyid for keyid in own_keys(keys) if keyid in reviewed.hand.signed), None)


def sign_proposal(reviewed: Reviewed, file: Path, keys: Path, secret: Passphrase, disk: Disk | None = None) -> str:
    """Add this holder's signature to `file`; return the key's id. Raises KeyProblem, or BreaksRule for a foreign key."""
    mine = own_keys(keys)
    path = next((mine[keyid][0] for keyid in mine if keyid in reviewed.hand.keyids), None)
    if path is None:
        raise BreaksRule(
            f"none of the keys in {keys} ({', '.join(one[:8] for one in mine) or 'none'}) may sign releases; these may: "
            f"{', '.join(one[:8] for one in reviewed.hand.keyids)}"
        )
    signer = read_key(path, secret)
    proposal = reviewed.proposal.with_releases(add_signature(reviewed.proposal.next(), signer))
    write_proposal(file, _attested(proposal, reviewed.release, signer), disk or Disk())
    return signer.public_key.keyid


def merge_proposals(one: Proposal, other: Proposal) -> Proposal:
    """Return `one` with the signatures of `other` too; raise BadProposal when they do not propose the same."""
    mine, theirs = one.next(), other.next()
    if mine.signed_bytes != theirs.signed_bytes or one.manifest != other.manifest:
        raise BadProposal("the two files are not copies of one proposal")
    for keyid, signature in theirs.signatures.items():
        mine.signatures.setdefault(keyid, signature)
    kept, more = parse_attestations(one.attestations), parse_attestations(other.attestations)
    have = {row.keyid for row in kept.signatures}
    rows = (*kept.signatures, *(row for row in more.signatures if row.keyid not in have))
    merged = msgspec.json.encode(Attestations(signatures=rows)) if rows else b""
    return replace(one.with_releases(to_bytes(mine)), attestations=merged)


def _attested(proposal: Proposal, release: Release, signer: Signer) -> Proposal:
    """Add this holder's signature for other people's tools, where the key is one that they take."""
    made = attest(signer, release, proposal.provenance)
    if made is None:
        return proposal
    before = [row for row in parse_attestations(proposal.attestations).signatures if row.keyid != made.keyid]
    return replace(proposal, attestations=msgspec.json.encode(Attestations(signatures=(*before, made))))
