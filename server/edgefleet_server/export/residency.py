"""Which regions' rows may leave. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import Refused
from ..keeping import RegionKeep


@dataclass(frozen=True)
class Allowed:
    """Those of `regions`, or all but those of `never`."""

    regions: tuple[str, ...] | None
    never: tuple[str, ...]


def allowed(wanted: Collection[str], keeps: Mapping[str, RegionKeep]) -> Allowed:
    """Return what may be exported of what is wanted (nothing: everything); raise Refused for a region that must stay."""
    never = tuple(sorted(region for region, keep in keeps.items() if not keep.export))
    if stays := sorted(set(wanted) & set(never)):
        raise Refused(
            f"telemetry of {', '.join(stays)} must stay on this server: regions.{stays[0]}.keep.export is false in server.toml"
        )
    return Allowed(tuple(sorted(wanted)) or None, never)
