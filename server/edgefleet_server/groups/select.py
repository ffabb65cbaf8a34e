"""A list of devices, however it was given: by name, by query, or by the name of a saved group."""

from collections.abc import Sequence

from edgefleet_protocol.errors import BadName
from edgefleet_protocol.names import check_label

from ..errors import BadRequest, NotFound, Refused
from ..regions.assigning import listed
from ..store import devices, groups
from ..store.database import Connection
from ..store.devices import Device
from .query import Query, parse

MOST = 10_000
"""Of one call: what it does is one transaction, or one message to each."""


def query_of(connection: Connection, text: str) -> Query:
    """Return the query that `text` is, or the one that was saved under that name."""
    if "=" in text or not text.strip():
        return parse(text)
    try:
        name = check_label("group", text)
    except BadName as error:
        raise BadRequest(f"{text[:80]!r} is neither a query, as in tag=door, nor a group's name: {error}") from error
    found = groups.find(connection, name)
    if found is None:
        there = ", ".join(row.name for row in groups.after(connection)) or "none"
        raise NotFound(f"there is no group {name}. There are: {there}. A query has a =, as in tag=door")
    return parse(found.query)


def members(connection: Connection, query: Query, regions: frozenset[str] | None) -> tuple[Device, ...]:
    """Return the devices that `query` means, by id; of `regions` only, where they are given."""
    named = query.regions()
    seen = regions if named is None else named if regions is None else named & regions
    return tuple(device for device in devices.every(connection, regions=seen) if query.matches(device))


def select(
    connection: Connection,
    names: Sequence[str],
    group: str | None,
    regions: frozenset[str] | None,
    *,
    most: int = MOST,
) -> tuple[Device, ...]:
    """Return the devices that a call is about; raise, before anything is done, when they are not all there.

    regions: of whoever asks. A device of another region is not known, in the same words as one that is nowhere.
    Raises BadRequest for none or both ways of naming them, Refused for a query that matches nothing, or too many.
    """
    if bool(names) == (group is not None):
        raise BadRequest("name devices, or a group, and not both: devices = ['door-1'], or group = 'tag=door'")
    if group is not None:
        found = members(connection, query_of(connection, group), regions)
        if not found:
            raise Refused(f"no device matches {group}: see what there is with edgefleet device list")
    else:
        wanted = tuple(dict.fromkeys(names))
        there = devices.find_many(connection, wanted)
        known = {
            name: row if (row := there.get(name)) and (regions is None or row.region in regions) else None
            for name in wanted
        }
        if missing := [name for name, device in known.items() if device is None]:
            raise NotFound(
                f"no device {listed(missing)} is known, so nothing was done for any of {len(wanted)}. "
                "See: edgefleet device list"
            )
        found = tuple(device for device in known.values() if device is not None)
    if len(found) > most:
        raise Refused(f"{len(found)} devices match, and one call is for at most {most}: narrow it down")
    return found
