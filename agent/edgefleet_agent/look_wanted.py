"""What a look must ask for first: all that can be known of at once, so that it takes few rounds."""

from collections.abc import Mapping

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from edgefleet_protocol.trust import KEYS_ROLE, MAX_ROOT_ROTATIONS, RELEASES_ROLE, rollouts_role

from .look_held import HEAD, NotHeld, parse_head
from .seams import LookRequest


def newest_root(request: LookRequest) -> int:
    """Return the number of the newest root, as `head` says; raise NotHeld for all of the first round that is not held."""
    held = request.held
    missing = [name for name in (HEAD, "timestamp.json") if name not in held]
    head = 0
    if HEAD in held:
        head = parse_head(held[HEAD])
        first = Metadata[Root].from_bytes(request.root).signed.version
        for number in range(first + 1, min(head, first + MAX_ROOT_ROTATIONS) + 1):
            name = f"{number}.root.json"
            if name not in held and name not in request.cache:
                missing.append(name)
    if missing:
        raise NotHeld(*missing)
    return head


def all_missing(request: LookRequest, listed: Mapping[str, int], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names` and every other role that this look will ask for and that is not held.

    listed: versions of the roles, by file name, in the verified snapshot.
    """
    wanted = ["targets", KEYS_ROLE, RELEASES_ROLE]
    if request.region is not None:
        wanted.append(rollouts_role(request.region))
    out = dict.fromkeys(names)
    for role in wanted:
        version = listed.get(f"{role}.json")
        if version is None or f"{version}.{role}.json" in request.held:
            continue
        if _cached_version(request, role) != version:
            out[f"{version}.{role}.json"] = None
    return tuple(out)


def _cached_version(request: LookRequest, role: str) -> int | None:
    try:
        return int(Metadata[Targets].from_bytes(request.cache[f"{role}.json"]).signed.version)
    except (KeyError, RepositoryError):
        return None
