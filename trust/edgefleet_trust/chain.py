"""Who may sign the list of releases? Walked from the holder's own root, never from what a proposal says of itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from edgefleet_protocol.trust import RELEASES_ROLE

from .errors import BadProposal, KeyProblem
from .holders import check_distinct, holder
from .proposal import Proposal


@dataclass(frozen=True)
class Hand:
    """The keys of the role `releases`, and how many of them must sign."""

    keyids: tuple[str, ...]
    threshold: int
    signed: tuple[str, ...]
    """Of those, the ones whose signature under the proposed list is right."""
    keys: Mapping[str, Key] = field(default_factory=dict)
    """The keys themselves, by id."""

    def names(self, keyids: Iterable[str]) -> str:
        """Return whose these keys are, as people say it."""
        return ", ".join(sorted(holder(self.keys[keyid]) for keyid in keyids))

    @property
    def enough(self) -> bool:
        """Whether the list may be published."""
        return len(self.signed) >= self.threshold


def same_document(one: bytes, other: bytes) -> bool:
    """Return whether two pieces of metadata say the same, whoever has signed either."""
    try:
        return bool(Metadata.from_bytes(one).signed_bytes == Metadata.from_bytes(other).signed_bytes)
    except (RepositoryError, ValueError):
        return False


def walk(anchor: bytes, roots: Sequence[bytes]) -> Root:
    """Return the newest root that `anchor`, root 1, leads to; raise BadProposal for one that its forerunner did not sign."""
    if not same_document(roots[0], anchor):
        raise BadProposal(
            "the proposal is for another repository: its first root is not the one beside these keys. "
            "Sign it with the keys of that repository"
        )
    try:
        trusted = Metadata[Root].from_bytes(roots[0])
        trusted.verify_delegate("root", trusted)
        for data in roots[1:]:
            following = Metadata[Root].from_bytes(data)
            if following.signed.version != trusted.signed.version + 1:
                raise BadProposal(f"root {following.signed.version} follows root {trusted.signed.version}")
            trusted.verify_delegate("root", following)
            following.verify_delegate("root", following)
            trusted = following
    except (RepositoryError, ValueError) as error:
        raise BadProposal(f"the proposal's roots do not lead from this holder's: {error}") from error
    return trusted.signed


def hand(proposal: Proposal, anchor: bytes) -> Hand:
    """Return who signs the list of releases and who has, after checking that the current list is theirs too.

    Raises BadProposal for a foreign repository, a broken chain, or a current list that was not signed by that hand.
    """
    root = walk(anchor, proposal.roots)
    try:
        targets = Metadata[Targets].from_bytes(proposal.targets)
        root.verify_delegate("targets", targets.signed_bytes, targets.signatures)
        base = proposal.current()
        targets.signed.verify_delegate(RELEASES_ROLE, base.signed_bytes, base.signatures)
    except (RepositoryError, ValueError) as error:
        raise BadProposal(f"what the proposal builds on is not signed as it must be: {error}") from error
    following = proposal.next()
    result = targets.signed.get_verification_result(RELEASES_ROLE, following.signed_bytes, following.signatures)
    keyids = tuple(sorted({*result.signed, *result.unsigned}))
    keys = {**result.signed, **result.unsigned}
    try:
        check_distinct(RELEASES_ROLE, keys.values())
    except KeyProblem as error:
        raise BadProposal(f"a key that signs releases cannot be used: {error}") from error
    return Hand(keyids=keyids, threshold=result.threshold, signed=tuple(sorted(result.signed)), keys=keys)
