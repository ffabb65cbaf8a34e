"""Regions: every version of their settings with who made it, and which are frozen."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, func, select, update

from ..regions.settings import RegionSettings, from_bytes, to_bytes
from .dialect import insert
from .schema import region_freezes, region_versions, rollouts


@dataclass(frozen=True)
class RegionVersion:
    """One version of a region's settings. Versions count from 1."""

    region: str
    version: int
    settings: RegionSettings
    actor: str
    why: str
    at_s: float


def add(connection: Connection, region: str, settings: RegionSettings, actor: str, why: str, now: float) -> int:
    """Keep `settings` as the region's newest version; return its number."""
    query = select(func.max(region_versions.c.version)).where(region_versions.c.region == region)
    number = 1 + int(connection.execute(query).scalar_one() or 0)
    connection.execute(
        insert(connection, region_versions).values(
            region=region, version=number, settings=to_bytes(settings), actor=actor, why=why, at_s=now
        )
    )
    return number


def current(connection: Connection, region: str) -> RegionVersion | None:
    """Return the newest version, or None where none was ever applied."""
    query = select(region_versions).where(region_versions.c.region == region)
    row = connection.execute(query.order_by(region_versions.c.version.desc()).limit(1)).first()
    return None if row is None else _version(row)


def find(connection: Connection, region: str, version: int) -> RegionVersion | None:
    """Return one version, or None."""
    query = select(region_versions).where(region_versions.c.region == region, region_versions.c.version == version)
    row = connection.execute(query).first()
    return None if row is None else _version(row)


def history(
    connection: Connection, region: str, limit: int = 100, before: int | None = None
) -> tuple[RegionVersion, ...]:
    """Return versions, newest first; those before `before`, where it is given."""
    query = select(region_versions).where(region_versions.c.region == region)
    if before is not None:
        query = query.where(region_versions.c.version < before)
    rows = connection.execute(query.order_by(region_versions.c.version.desc()).limit(limit))
    return tuple(_version(row) for row in rows)


def every_current(connection: Connection) -> dict[str, RegionVersion]:
    """Return the newest version of each region that has one."""
    newest = (
        select(region_versions.c.region, func.max(region_versions.c.version).label("version"))
        .group_by(region_versions.c.region)
        .subquery()
    )
    here = (region_versions.c.region == newest.c.region) & (region_versions.c.version == newest.c.version)
    return {row.region: _version(row) for row in connection.execute(select(region_versions).join(newest, here))}


def freezes(connection: Connection) -> dict[str, str]:
    """Return for each frozen region who froze it, and why."""
    return {row.region: row.words for row in connection.execute(select(region_freezes))}


def freeze(connection: Connection, region: str, words: str, now: float) -> None:
    """Keep that a region is frozen."""
    values = {"words": words, "at_s": now}
    statement = insert(connection, region_freezes).values(region=region, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["region"], set_=values))


def thaw(connection: Connection, region: str, now: float) -> bool:
    """Keep that a region is frozen no longer; return whether it was. Time in which it was counts for no deadline."""
    gone = connection.execute(delete(region_freezes).where(region_freezes.c.region == region)).rowcount
    if gone:
        moving = (rollouts.c.region == region) & rollouts.c.status.in_(("running", "paused"))
        connection.execute(update(rollouts).where(moving).values(stage_opened_s=now))
    return bool(gone)


def put_policy(connection: Connection, numbers: Collection[int], policy: bytes) -> None:
    """Give the rollouts of these numbers another policy."""
    connection.execute(update(rollouts).where(rollouts.c.id.in_(numbers)).values(policy=policy))


def put_previous_policy(connection: Connection, numbers: Collection[int], policy: bytes) -> None:
    """Give the rollouts of these numbers another policy to go back to."""
    connection.execute(update(rollouts).where(rollouts.c.id.in_(numbers)).values(previous_policy=policy))


def _version(row: "Row[tuple[object, ...]]") -> RegionVersion:
    return RegionVersion(
        region=row.region,
        version=row.version,
        settings=from_bytes(row.settings),
        actor=row.actor,
        why=row.why,
        at_s=row.at_s,
    )
