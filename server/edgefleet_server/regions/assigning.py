"""Where devices belong, and whether they are frozen: one signed, numbered assignment each; of many, all or none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from edgefleet_protocol.codec import encode
from edgefleet_protocol.names import check_label
from edgefleet_protocol.rollout import DeviceAssignment
from edgefleet_protocol.trust import DEVICE_ASSIGNMENT_TYPE

from ..errors import NotFound, Refused
from ..ingest.freshness import ASSIGNMENTS_AHEAD
from ..seams import Clock, Repository, Signer
from ..store import audit, decommissioned, devices
from ..store.database import Connection, Database
from ..store.devices import AssignmentRow, Device

MOST_TAGS = 32
NAMED = 10
TRIES = 3


@dataclass(frozen=True)
class Place:
    """Where a device belongs: what its assignment says."""

    region: str
    tags: tuple[str, ...] = ()
    frozen: str = ""


def _joined_s(known: Device | None, region: str, now: float) -> float | None:
    """Return since when the device belongs to `region`: a new assignment within it changes nothing about that."""
    if known is not None and known.region == region:
        return known.joined_s if known.assigned_number else known.first_seen_s
    return now


@dataclass(frozen=True)
class Assigned:
    """What became of a call: devices that have a new number, and those for which it already was so."""

    changed: tuple[DeviceAssignment, ...]
    unchanged: tuple[str, ...]


def newest_number(known: Device | None) -> int:
    """Return the highest number that the server gave to the device.

    A database restored from a backup may have forgotten some, so what the device holds counts too, within belief: a
    device that claims an absurd number could not be assigned ever again.
    """
    if known is None:
        return 0
    said = known.state.assignment_number if known.state else 0
    return max(known.assigned_number, said if said <= known.assigned_number + ASSIGNMENTS_AHEAD else 0)


def issue(
    connection: Connection, signer: Signer, device: str, known: Device | None, place: Place, now: float
) -> DeviceAssignment:
    """Sign and keep an assignment of one device, in the caller's transaction; return it.

    known: the device as this transaction sees it. Raises Refused for one that was decommissioned.
    """
    if gone := decommissioned.find(connection, device):
        raise Refused(
            f"{device} was decommissioned by {gone.actor} ({gone.why or 'no reason given'}): to have it back, "
            f"edgefleet device readmit {device}"
        )
    document, put = sign(signer, device, known, place, now)
    devices.put_assignment(connection, put)
    return document


def sign(
    signer: Signer, device: str, known: Device | None, place: Place, now: float
) -> tuple[DeviceAssignment, AssignmentRow]:
    """Return an assignment, and the row that keeps it with its signature."""
    joined_s = _joined_s(known, place.region, now)
    document = DeviceAssignment(
        device=device,
        number=1 + newest_number(known),
        region=place.region,
        tags=place.tags,
        issued=datetime.fromtimestamp(now, UTC),
        frozen=place.frozen,
        joined=None if joined_s is None else datetime.fromtimestamp(joined_s, UTC),
    )
    envelope = signer.sign_envelope(DEVICE_ASSIGNMENT_TYPE, encode(document))
    anew = known is not None and (known.region != place.region or (known.frozen != "" and not place.frozen))
    row = AssignmentRow(
        device=device,
        number=document.number,
        region=place.region,
        tags=place.tags,
        envelope=envelope,
        frozen=place.frozen,
        at_s=now,
        counts_from_s=now if anew else (known.counts_from_s if known is not None else 0.0),
        joined_s=joined_s,
    )
    return document, row


class Assigner:
    """Assigns many devices at once. `on_signed`: the publisher should look; `on_change`: the controller should."""

    def __init__(
        self,
        database: Database,
        repository: Repository,
        signer: Signer,
        clock: Clock,
        on_signed: Callable[[], None],
        on_change: Callable[[], None],
    ) -> None:
        self._database, self._repository, self._signer, self._clock = database, repository, signer, clock
        self._on_signed, self._on_change = on_signed, on_change

    def move(self, names: Sequence[str], region: str, actor: str, why: str = "") -> Assigned:
        """Make devices belong to `region`, with the tags that they have. What runs there goes on until the region's wish comes."""
        self._check_region(region)
        return self._all(
            names, lambda at: replace(at, region=region), actor, "device.assign", f"moved to {region}", why
        )

    def retag(
        self, names: Sequence[str], add: Sequence[str], remove: Sequence[str], actor: str, why: str = ""
    ) -> Assigned:
        """Add and remove tags."""
        for tag in (*add, *remove):
            check_label("tag", tag)
        if twice := sorted(set(add) & set(remove)):
            raise Refused(f"{', '.join(twice)} is to be added and to be removed: say one of the two")

        def change(at: Place) -> Place:
            tags = [tag for tag in dict.fromkeys((*at.tags, *add)) if tag not in remove]
            if len(tags) > MOST_TAGS:
                raise Refused(f"a device has at most {MOST_TAGS} tags, and one would have {len(tags)}: remove some")
            return replace(at, tags=tuple(tags))

        text = " ".join([*(f"+{tag}" for tag in add), *(f"-{tag}" for tag in remove)])
        return self._all(names, change, actor, "device.assign", f"tags {text}", why)

    def freeze(self, names: Sequence[str], actor: str, why: str = "") -> Assigned:
        """Let nothing new begin on devices; what serves goes on. One that is frozen already stays so in the words of before."""
        words = freeze_words(actor, why)
        return self._all(
            names, lambda at: at if at.frozen else replace(at, frozen=words), actor, "device.freeze", "frozen", why
        )

    def thaw(self, names: Sequence[str], actor: str, why: str = "") -> Assigned:
        """End that."""
        return self._all(names, lambda at: replace(at, frozen=""), actor, "device.freeze", "thawed", why)

    def _all(
        self, names: Sequence[str], change: Callable[[Place], Place], actor: str, action: str, text: str, why: str
    ) -> Assigned:
        """Assign all of `names` or, when one of them cannot be, none; the message says which ones cannot.

        What is to be signed is signed before the transaction, in which nobody else can write; there it is only seen whether
        everything still stands as it was read.
        """
        wanted = tuple(dict.fromkeys(names))
        for _ in range(TRIES):
            now = self._clock.now()
            with self._database.read() as connection:
                known = devices.find_many(connection, wanted)
            _all_there({name: known.get(name) for name in wanted})
            puts, deeds, unchanged, changed = [], [], [], []
            for name in wanted:
                device = known[name]
                assert device.region is not None
                before = Place(device.region, device.tags, device.frozen)
                after = change(before)
                # One that was never assigned and only says where it belongs has no signed word for it yet.
                if after == before and device.assigned_number > 0:
                    unchanged.append(name)
                    continue
                document, put = sign(self._signer, name, device, after, now)
                puts.append(put)
                changed.append(document)
                said = f"number {document.number}: {text}{f' ({why})' if why else ''}"
                # In the region that it leaves and in the one that it joins: who reads one of them sees it.
                deeds += [
                    audit.AuditRow(now, actor, action, region, name, said)
                    for region in dict.fromkeys((before.region, after.region))
                ]
            with self._database.write() as connection:
                if devices.numbers(connection, wanted) != {row.id: row.assigned_number for row in known.values()}:
                    continue
                devices.put_assignments(connection, puts)
                audit.add_all(connection, deeds)
            self._on_signed()
            self._on_change()
            return Assigned(tuple(changed), tuple(unchanged))
        raise Refused(f"somebody else assigns {listed(wanted)} at the same time, so nothing was changed: try again")

    def _check_region(self, region: str) -> None:
        if region not in (there := self._repository.regions()):
            raise NotFound(f"there is no region {region}. There are: {', '.join(there) or 'none'}")


def freeze_words(actor: str, why: str) -> str:
    """Return who froze something, and why, as a signed document says it."""
    return (f"{actor}: {why}" if why else f"{actor}, without a reason")[:300]


def _all_there(known: dict[str, Device | None]) -> None:
    """Raise for devices that cannot be assigned, all of them by name."""
    missing = [name for name, device in known.items() if device is None]
    if missing:
        raise NotFound(
            f"no device {listed(missing)} is known, so nothing was changed for any of {len(known)}. See: edgefleet device list"
        )
    double = [name for name, device in known.items() if device is not None and device.alarm is not None]
    if double:
        raise Refused(
            f"{listed(double)} in quarantine, so nothing was changed for any of {len(known)}: two copies speak in turn. "
            "See: edgefleet device clear-alarm --help"
        )
    nowhere = [name for name, device in known.items() if device is not None and device.region is None]
    if nowhere:
        raise Refused(
            f"{listed(nowhere)} belongs to no region yet, so nothing was changed for any of {len(known)}: "
            "edgefleet device assign says where one belongs"
        )


def listed(names: Sequence[str]) -> str:
    """Return names for a message, the first of many."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
