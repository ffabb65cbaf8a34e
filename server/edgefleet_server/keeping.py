"""How long telemetry is kept, by resolution and by region, and what of a region may leave the server. Pure but for BadConfig."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from .errors import BadConfig
from .misfit import misfit

DAY_S = 86400.0


class Kept(Protocol):
    """What `[keep]` of server.toml says, as far as it is about telemetry."""

    @property
    def windows_days(self) -> float: ...

    @property
    def minute_rollups_days(self) -> float: ...

    @property
    def hour_rollups_days(self) -> float: ...

    @property
    def day_rollups_days(self) -> float: ...


@dataclass(frozen=True)
class RegionKeep:
    """What holds for one region's telemetry instead of `[keep]`; None is as there."""

    windows_days: float | None = None
    minute_rollups_days: float | None = None
    hour_rollups_days: float | None = None
    day_rollups_days: float | None = None
    export: bool = True
    """Whether its rows may be exported."""


SPANS = ("windows_days", "minute_rollups_days", "hour_rollups_days", "day_rollups_days")


def read_region_keep(region: str, rows: Any) -> RegionKeep:
    """Return what `[regions.NAME.keep]` says; raise BadConfig for what cannot be."""
    where = f"regions.{region}.keep"
    if not isinstance(rows, Mapping):
        raise BadConfig(f"{where} must be a table")
    if extra := sorted(set(rows) - set(RegionKeep.__dataclass_fields__)):
        raise BadConfig(f"{where}.{extra[0]} is not known. Known here: {', '.join(RegionKeep.__dataclass_fields__)}")
    try:
        found = msgspec.convert(dict(rows), RegionKeep)
    except msgspec.ValidationError as error:
        raise BadConfig(f"{where}: {misfit(error, rows, RegionKeep)}") from error
    for name in SPANS:
        value = getattr(found, name)
        if value is not None and not value > 0:
            raise BadConfig(f"{where}.{name} is {value}: write a number above 0")
    return found


def longest_days(windows_days: float, regions: Mapping[str, RegionKeep]) -> float:
    """Return for how many days any region keeps windows: what a region keeps shorter goes by itself."""
    return max([windows_days, *(own.windows_days for own in regions.values() if own.windows_days is not None)])


@dataclass(frozen=True)
class Bounds:
    """Before which moment a table's rows go: by region, and in all others."""

    regions: Mapping[str, float]
    others: float


def bounds(keep: Kept, regions: Mapping[str, RegionKeep], name: str, now: float) -> Bounds:
    """Return the bounds of one of SPANS."""
    own = {region: days for region, row in regions.items() if (days := getattr(row, name)) is not None}
    return Bounds(
        {region: now - days * DAY_S for region, days in sorted(own.items())}, now - getattr(keep, name) * DAY_S
    )


def at_most(found: Bounds, days: Mapping[str, float], now: float) -> Bounds:
    """Return bounds under which these regions keep no more than so many days: what a region's version says only shortens."""
    own = {region: max(now - kept * DAY_S, found.regions.get(region, found.others)) for region, kept in days.items()}
    return Bounds({**found.regions, **own}, found.others)


@dataclass(frozen=True)
class WindowsKept:
    """For how long a region's windows are kept, and which of the two places that may say so has the last word."""

    days: float
    words: str


def windows_kept(keep: Kept, regions: Mapping[str, RegionKeep], region: str, version_days: float | None) -> WindowsKept:
    """Return what holds in a region. version_days: `telemetry.keep_days` of its newest version."""
    own = regions[region].windows_days if region in regions else None
    allowed = keep.windows_days if own is None else own
    key = f"[{'keep' if own is None else f'regions.{region}.keep'}] windows_days of server.toml"
    if version_days is None:
        return WindowsKept(allowed, f"windows are kept for {_days(allowed)}: {key}")
    if version_days <= allowed:
        words = f"windows are kept for {_days(version_days)}: telemetry.keep_days of its version; {key} would allow {allowed:g}"
        return WindowsKept(version_days, words)
    words = f"windows are kept for {_days(allowed)}: {key} allows no more, though telemetry.keep_days of its version says {version_days:g}"
    return WindowsKept(allowed, words)


def _days(days: float) -> str:
    return f"{days:g} day{'' if days == 1 else 's'}"
