"""The list of devices, filtered and a page at a time, in the database: a hundred thousand cost what the page costs."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, Text, case, cast, func, or_, select

from .devices import Device, device_of_row, of_regions
from .schema import devices

Status = Literal["online", "offline", "failing", "quarantine", "silent"]
"""failing: refused or fell back from what is wanted; quarantine: two copies speak; silent: it was never heard of."""
region_now: ColumnElement[Any] = case(
    (devices.c.assigned_number > 0, devices.c.assigned_region), else_=devices.c.region
)
tags_now: ColumnElement[Any] = case((devices.c.assigned_number > 0, devices.c.assigned_tags), else_=devices.c.tags)


@dataclass(frozen=True)
class Filter:
    """Which devices; None is any."""

    region: str | None = None
    tag: str | None = None
    hardware: str | None = None
    status: Status | None = None
    runs: str | None = None
    """A model, a release, or a release and its variant: `fashion`, `fashion/3`, `fashion/3/int8`."""
    text: str | None = None
    """In the name, the hardware class or what it runs."""


def page(
    connection: Connection, wish: Filter, regions: Collection[str] | None, *, after: str | None, limit: int
) -> tuple[Device, ...]:
    """Return up to `limit` devices by id, from the one after `after` on."""
    query = select(devices).where(*_conditions(wish, regions)).order_by(devices.c.id).limit(limit)
    if after is not None:
        query = query.where(devices.c.id > after)
    return tuple(map(device_of_row, connection.execute(query).mappings()))


def count(connection: Connection, wish: Filter, regions: Collection[str] | None) -> int:
    """Return how many there are in all."""
    query = select(func.count()).select_from(devices).where(*_conditions(wish, regions))
    return int(connection.execute(query).scalar_one())


@dataclass(frozen=True)
class RegionCount:
    """Devices of one region (None: of none yet), by how they stand."""

    region: str | None
    devices: int
    online: int
    failing: int
    quarantined: int


def by_region(connection: Connection, regions: Collection[str] | None) -> tuple[RegionCount, ...]:
    """Return the counts of each region, by name."""
    query: Select[Any] = (
        select(
            region_now,
            func.count(),
            _how_many(devices.c.online),
            _how_many(_status("failing")),
            _how_many(_status("quarantine")),
        )
        .where(of_regions(regions))
        .group_by(region_now)
    )
    rows = [RegionCount(row[0], row[1], row[2], row[3], row[4]) for row in connection.execute(query)]
    return tuple(sorted(rows, key=lambda row: row.region or ""))


def region_of(connection: Connection, names: Collection[str]) -> dict[str, str | None]:
    """Return the region of each of these devices."""
    query = select(devices.c.id, region_now).where(devices.c.id.in_(sorted(names)))
    return {row[0]: row[1] for row in connection.execute(query)}


def hardware_classes(connection: Connection, regions: Collection[str] | None) -> tuple[tuple[str, int], ...]:
    """Return every hardware class with how many devices it has."""
    query = (
        select(devices.c.hardware_class, func.count())
        .where(of_regions(regions), devices.c.hardware_class.is_not(None))
        .group_by(devices.c.hardware_class)
        .order_by(devices.c.hardware_class)
    )
    return tuple((row[0], row[1]) for row in connection.execute(query))


def _how_many(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.sum(case((condition, 1), else_=0))


def _conditions(wish: Filter, regions: Collection[str] | None) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [of_regions(regions)]
    if wish.region is not None:
        found.append(region_now == wish.region)
    if wish.tag is not None:
        found.append(cast(tags_now, Text).contains(f'"{wish.tag}"', autoescape=True))
    if wish.hardware is not None:
        found.append(devices.c.hardware_class == wish.hardware)
    if wish.runs is not None:
        found.append(devices.c.runs.contains(f" {wish.runs} ", autoescape=True))
    if wish.status is not None:
        found.append(_status(wish.status))
    if wish.text is not None:
        columns = (devices.c.id, devices.c.hardware_class, devices.c.runs)
        found.append(or_(*(func.lower(column).contains(wish.text.lower(), autoescape=True) for column in columns)))
    return found


def _status(status: Status) -> ColumnElement[bool]:
    if status == "online":
        return devices.c.online
    if status == "offline":
        return ~devices.c.online & devices.c.last_seen_s.is_not(None)
    if status == "failing":
        return devices.c.phases.contains(" failed ")
    if status == "quarantine":
        return devices.c.alarm.is_not(None)
    return devices.c.last_seen_s.is_(None)
