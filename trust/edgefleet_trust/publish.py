"""`edgefleet trust publish`: a signed proposal into the repository, after the same checks and a device's own."""

from datetime import datetime

from edgefleet_protocol.trust import RELEASES_ROLE, release_path

from .attest import check_signatures, exported, parse_attestations
from .chain import hand
from .commit import Change, commit
from .errors import BreaksRule
from .export import beside
from .files import Disk, locked
from .online import OnlineKeys
from .proposal import Proposal, check_contents, check_step, manifest_digest
from .repository import Repository


def publish(
    proposal: Proposal, repository: Repository, keys: OnlineKeys, now: datetime, disk: Disk | None = None
) -> str:
    """Publish `proposal`; return the release's name. Publishing what is published already changes nothing.

    Raises BadProposal or BreaksRule, with the repository unchanged, for a proposal that was altered, that too few have
    signed, that is of another repository, or that does not follow the current list.
    """
    release = check_contents(proposal)
    check_step(proposal, release, now)
    with locked(repository.folder):
        current = repository.current()
        who = hand(proposal, current.first_root())
        if not who.enough:
            raise BreaksRule(
                f"{release.name} is signed by {len(who.signed)} of the {who.threshold} holders it needs "
                f"({who.names(who.signed) or 'nobody'}): `edgefleet trust sign` comes first"
            )
        attestations = parse_attestations(proposal.attestations)
        check_signatures(attestations, who.keys, release, proposal.provenance)
        listed = current.files[current.role_file(RELEASES_ROLE)]
        if published_already(proposal, repository):
            return release.name
        if listed != proposal.base:
            raise BreaksRule(
                f"{release.name} was proposed upon version {proposal.current().signed.version} of the list of releases "
                f"and the repository is at {current.roles[RELEASES_ROLE].version}: something else was published since. "
                "Run `edgefleet release propose` on the folder again, then sign and publish that"
            )
        digest = manifest_digest(proposal)
        change = Change(
            roles={RELEASES_ROLE: proposal.releases},
            targets={digest: proposal.manifest},
            chunks={chunk.sha256: proposal.chunks[chunk.sha256] for file in release.files for chunk in file.chunks},
            found={release_path(release.name): digest},
            beside=beside(release, exported(attestations, who.keys, release, proposal.provenance)),
        )
        commit(repository.folder, current, change, keys, now, disk or Disk(), old_clients=True)
    return release.name


def published_already(proposal: Proposal, repository: Repository) -> bool:
    """Return whether the release of `proposal` is listed as it is proposed. The proposal need not have been checked."""
    listed = repository.current().releases().get(proposal.release().name)
    return listed is not None and listed.sha256 == manifest_digest(proposal)
