"""Two hands: the online one names a release for a region, the offline one has listed it. Both must say the same."""

from typing import TypeVar

from tuf.api.metadata import TargetFile

from edgefleet_protocol import codec
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.manifest import Release
from edgefleet_protocol.release_check import check_release
from edgefleet_protocol.rollout import Assignment
from edgefleet_protocol.trust import MANIFEST_LIMIT, release_of_path

from . import __version__
from .look_memory import Rejected

D = TypeVar("D", bound=codec.Document)


def both_hands(assignment: Assignment, info: TargetFile | None) -> TargetFile | str:
    """Return `info` when the online hand's choice is what the offline hand listed, else the reason why not."""
    name = release_of_path(assignment.release.path)
    if name.partition("/")[0] != assignment.model:
        return f"{name} is no release of {assignment.model}, for which the rollout names it"
    if info is None:
        return f"{name} is not listed by the holders of the release keys: never released, or withdrawn"
    if digest(info) != assignment.release.sha256:
        return (
            f"{name} is listed with the digest {digest(info)[:12]} and the rollout names "
            f"{assignment.release.sha256[:12]}"
        )
    if info.length > MANIFEST_LIMIT:
        return f"{name} has a manifest of {info.length} bytes and the limit is {MANIFEST_LIMIT}"
    return info


def odd_manifest(path: str, data: bytes) -> str | None:
    """Return why a manifest that the offline hand signed is still not to be obeyed, or None."""
    name = release_of_path(path)
    try:
        release = codec.decode(data, Release, agent_version=__version__, limit=MANIFEST_LIMIT)
        check_release(release)
    except ProtocolError as error:
        return f"{name}: {error}"
    return None if release.name == name else f"{name} is listed, and its manifest is that of {release.name}"


def digest(info: TargetFile) -> str:
    """Return the SHA-256 that was signed for a target; raise Rejected where there is none."""
    sha256 = info.hashes.get("sha256")
    if sha256 is None:
        raise Rejected(f"{info.path} is signed without a SHA-256")
    return str(sha256)


def document(data: bytes, kind: type[D], limit: int) -> D:
    """Return a verified target as a document; raise Rejected when this agent cannot read it."""
    try:
        return codec.decode(data, kind, agent_version=__version__, limit=limit)
    except ProtocolError as error:
        raise Rejected(f"signed, but not to be used here: {error}") from error
