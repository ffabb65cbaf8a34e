"""Devices: what each says of itself, kept as the bytes that came, and where it was assigned."""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Executable, RowMapping, bindparam, case, delete, select, true, update

from edgefleet_protocol.codec import decode
from edgefleet_protocol.errors import ProtocolError
from edgefleet_protocol.hardware import Hardware
from edgefleet_protocol.messages import DeviceState, ModelState

from ..ingest.lineage import Alarm, Lineage
from . import pieces, windows
from .dialect import insert
from .schema import commands, devices, events
from .texts import clean

_FIND = select(devices).where(devices.c.id == bindparam("which"))
"""Made once: it is asked for each message, and to make it anew costs more than to ask."""


@dataclass(frozen=True)
class Device:
    """One device as the server knows it. `state` is None before its first one."""

    id: str
    online: bool
    session: int
    boot: str
    first_seen_s: float
    last_seen_s: float | None
    region: str | None
    """Where it was assigned; before that, where it says that it belongs."""
    tags: tuple[str, ...]
    assigned_number: int
    assignment: bytes | None
    """The signed envelope, as it is retained for the device."""
    state: DeviceState | None
    state_bytes: bytes | None
    state_at_s: float | None
    """When the state came, by the server's clock."""
    dropped_windows: int = 0
    lineage: Lineage = field(default_factory=Lineage)
    """The starts of its agent, as far as they were heard."""
    alarm: Alarm | None = None
    """Two copies of it speak in turn. Until somebody decides it is in quarantine: it counts for nothing."""
    frozen: str = ""
    """Who froze it, and why; empty: nobody. Its region may be frozen besides."""
    counts_from_s: float = 0.0
    """When it last came into its region, or was thawed: no deadline runs from before."""
    joined_s: float | None = None
    """Since when it has belonged to its region, as its assignment tells it; None where that does not say."""

    @property
    def hardware(self) -> Hardware | None:
        """What it is, as it said."""
        return self.state.hardware if self.state else None

    def model(self, name: str) -> ModelState | None:
        """Its state of one model, or None when it says nothing of it."""
        if self.state is None:
            return None
        return next((model for model in self.state.models if model.model == name), None)


def find(connection: Connection, device: str) -> Device | None:
    """Return one device, or None."""
    row = connection.execute(_FIND, {"which": device}).mappings().first()
    return None if row is None else device_of_row(row)


def of_regions(regions: Collection[str] | None) -> ColumnElement[bool]:
    """Return the condition for devices that belong to one of `regions`; None is every region, and none yet."""
    if regions is None:
        return true()
    return case((devices.c.assigned_number > 0, devices.c.assigned_region), else_=devices.c.region).in_(sorted(regions))


def find_in(connection: Connection, device: str, regions: Collection[str] | None) -> Device | None:
    """Return one device of `regions`, or None: of another region's device nothing is told, not even that it is there."""
    query = select(devices).where(devices.c.id == device).where(of_regions(regions))
    row = connection.execute(query).mappings().first()
    return None if row is None else device_of_row(row)


def regions_of(connection: Connection, names: Sequence[str]) -> dict[str, str | None]:
    """Return the region that each of `names` belongs to, without reading all that it said; none for one that is not known."""
    where = case((devices.c.assigned_number > 0, devices.c.assigned_region), else_=devices.c.region).label("where")
    query = select(devices.c.id, where)
    return {
        row.id: row.where for some in _parts(names) for row in connection.execute(query.where(devices.c.id.in_(some)))
    }


def every(
    connection: Connection, region: str | None = None, regions: Collection[str] | None = None
) -> tuple[Device, ...]:
    """Return all devices, or those of one region, by id; of `regions` only, where they are given."""
    rows = connection.execute(select(devices).where(of_regions(regions)).order_by(devices.c.id)).mappings()
    found = (device_of_row(row) for row in rows)
    return tuple(device for device in found if region is None or device.region == region)


def put_state(
    connection: Connection,
    state: DeviceState,
    data: bytes,
    now: float,
    *,
    live: bool,
    lineage: Lineage | None = None,
    counts_anew: bool = False,
) -> None:
    """Keep the state of a device. `live`: it came now, and not from the broker's memory. `counts_anew`: its deadlines do."""
    values: dict[str, Any] = {
        "session": state.session,
        "boot": clean(state.boot),
        "region": state.region,
        "tags": json.dumps(list(state.tags)),
        "hardware_class": clean(state.hardware.hardware_class) if state.hardware else None,
        "state": data,
        "state_at_s": now,
        "runs": runs(state),
        "phases": f" {' '.join(sorted({row.phase for row in state.models}))} ",
    }
    if live:
        values |= {"online": True, "last_seen_s": now}
    if lineage is not None:
        values["lineage"] = msgspec.json.encode(lineage)
    if counts_anew:
        values["counts_from_s"] = now
    _upsert(connection, state.device, now, values)


def runs(state: DeviceState) -> str:
    """Return what a device has and runs as words between spaces: models, releases, releases with their variant."""
    words = {row.model for row in state.models}
    for row in state.models:
        if row.running:
            words |= {row.running.release, f"{row.running.release}/{row.running.variant}"}
    return f" {' '.join(sorted(words))} "


def put_alarm(connection: Connection, device: str, alarm: Alarm | None, lineage: Lineage | None = None) -> None:
    """Raise the alarm over a device, or clear it; with `lineage`, its starts are remembered so from now on."""
    values: dict[str, Any] = {"alarm": None if alarm is None else msgspec.json.encode(alarm)}
    if lineage is not None:
        values["lineage"] = msgspec.json.encode(lineage)
    connection.execute(update(devices).where(devices.c.id == device).values(**values))


def put_presence(connection: Connection, device: str, session: int, online: bool, now: float, *, live: bool) -> None:
    """Keep whether a device is connected."""
    values: dict[str, Any] = {"online": online, "session": session}
    if live and online:
        values["last_seen_s"] = now
    _upsert(connection, device, now, values)


def touch(connection: Connection, device: str, now: float) -> None:
    """Keep that a device spoke just now."""
    _upsert(connection, device, now, {"last_seen_s": now})


@dataclass(frozen=True)
class AssignmentRow:
    """Where a device was assigned, with the signed envelope that tells it so."""

    device: str
    number: int
    region: str
    tags: tuple[str, ...]
    envelope: bytes
    frozen: str
    at_s: float
    counts_from_s: float
    joined_s: float | None = None

    def values(self) -> dict[str, Any]:
        """Return it as columns."""
        return {
            "assigned_number": self.number,
            "assigned_region": self.region,
            "assigned_tags": json.dumps(list(self.tags)),
            "assignment": self.envelope,
            "frozen": self.frozen or None,
            "counts_from_s": self.counts_from_s,
            "joined_s": self.joined_s,
        }


def put_assignment(connection: Connection, row: AssignmentRow) -> None:
    """Keep where a device was assigned, also one that was never heard of."""
    _upsert(connection, row.device, row.at_s, row.values())


def put_assignments(connection: Connection, rows: Sequence[AssignmentRow]) -> None:
    """Keep where devices that are known were assigned."""
    if rows:
        statement = update(devices).where(devices.c.id == bindparam("which"))
        connection.execute(statement, [{"which": row.device, **row.values()} for row in rows])


def find_many(connection: Connection, names: Sequence[str]) -> dict[str, Device]:
    """Return those of `names` that are known, by id."""
    found = {}
    for some in _parts(names):
        for row in connection.execute(select(devices).where(devices.c.id.in_(some))).mappings():
            found[row["id"]] = device_of_row(row)
    return found


def names(connection: Connection) -> list[str]:
    """Return the names of all devices that are known."""
    return list(connection.scalars(select(devices.c.id).order_by(devices.c.id)))


def numbers(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the number of the newest assignment of each of `names` that is known, by id."""
    columns = select(devices.c.id, devices.c.assigned_number)
    return {
        row.id: row.assigned_number
        for some in _parts(names)
        for row in connection.execute(columns.where(devices.c.id.in_(some)))
    }


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """A statement has only so many parameters."""
    yield from (names[at : at + 500] for at in range(0, len(names), 500))


def assignments(connection: Connection) -> dict[str, bytes]:
    """Return the signed envelope of every device that has one."""
    rows = connection.execute(select(devices.c.id, devices.c.assignment).where(devices.c.assignment.is_not(None)))
    return {row.id: row.assignment for row in rows}


def forget(connection: Connection, device: str) -> None:
    """Remove a device and all that it said."""
    windows.forget(connection, device)
    connection.execute(delete(events).where(events.c.device == device))
    pieces.forget(connection, device)
    connection.execute(delete(commands).where(commands.c.device == device))
    connection.execute(delete(devices).where(devices.c.id == device))


def _upsert(connection: Connection, device: str, now: float, values: dict[str, Any]) -> None:
    key = connection.dialect.name, tuple(values)
    if key not in _UPSERTS:
        statement = insert(connection, devices)
        names = {name: statement.excluded[name] for name in values}
        _UPSERTS[key] = statement.on_conflict_do_update(index_elements=["id"], set_=names)
    connection.execute(_UPSERTS[key], {"id": device, "first_seen_s": now, **values})


_UPSERTS: dict[tuple[str, tuple[str, ...]], Executable] = {}
"""By database and columns, made once, as `_FIND`."""


def device_of_row(row: RowMapping) -> Device:
    """Return the device that a row of the table holds."""
    assigned = row["assigned_number"] > 0
    return Device(
        id=row["id"],
        online=row["online"],
        session=row["session"],
        boot=row["boot"],
        first_seen_s=row["first_seen_s"],
        last_seen_s=row["last_seen_s"],
        region=row["assigned_region"] if assigned else row["region"],
        tags=tuple(json.loads(row["assigned_tags"] if assigned else row["tags"])),
        assigned_number=row["assigned_number"],
        assignment=row["assignment"],
        state=_state(row["state"]),
        state_bytes=row["state"],
        state_at_s=row["state_at_s"],
        dropped_windows=row["dropped_windows"],
        lineage=msgspec.json.decode(row["lineage"], type=Lineage) if row["lineage"] else Lineage(),
        alarm=msgspec.json.decode(row["alarm"], type=Alarm) if row["alarm"] else None,
        frozen=row["frozen"] or "",
        counts_from_s=row["counts_from_s"] or 0.0,
        joined_s=row["joined_s"],
    )


def _state(data: bytes | None) -> DeviceState | None:
    """The document in `data`. It was valid when it came; a version that reads less of it says nothing rather than die."""
    if data is None:
        return None
    try:
        return decode(data, DeviceState)
    except ProtocolError:
        return None
